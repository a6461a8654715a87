// Looking back: the list, the charts and the events of a span that is over, from the history on disk.

import { equal, line, ok, open, pictures, test, titles, until, violations } from "./harness.mjs";

/** A moment of the first cases, when everything ran; these come after them. */
const moment = Date.now() + 5_000;
const lookBack = (at) => at.getByRole("button", { name: "Look back" });
const banner = (at) => at.locator(".past");
const inThePast = async (at) => (await at.locator(".connection").innerText()) === "the past";
/** The minutes before it. */
const then = () => `from=${new Date(moment - 295_000).toISOString()}&to=${new Date(moment).toISOString()}`;

test("the_last_hour_by_the_mouse", async () => {
  const other = await open();
  await until("the list", async () => (await titles(other)).includes("shop-web-1"));
  await lookBack(other).click();
  await other.getByRole("button", { name: "Last hour" }).click();
  await until("the past", () => inThePast(other));
  ok((await banner(other).innerText()).includes("You look at the past"), "a banner says so");
  ok(/[?&]from=\d{4}-.*&to=\d{4}-/.test(other.url()), other.url());
  await until("the list of then", async () => (await titles(other)).includes("shop-web-1"));
  await until("the events of the span", async () => (await other.locator(".dock li.kill").count()) > 0);
  await other.screenshot({ path: `${pictures}/past.png` });
  await other.getByRole("button", { name: "Back to live" }).click();
  await until("live", async () => (await other.locator(".connection").innerText()) === "live");
  equal(await banner(other).count(), 0);
  ok(!other.url().includes("from="), other.url());
  await other.context().close();
});

test("an_ended_container_runs_in_the_past", async () => {
  const isEnded = async (at) => (await line(at, "batch").getAttribute("class")).includes("ended");
  const now = await open("/containers/?q=batch");
  await until("the list", async () => (await titles(now)).includes("batch"));
  ok(await isEnded(now), "a case killed it since");
  await now.context().close();
  // The address alone leads there.
  const other = await open(`/containers/?q=batch&${then()}`);
  await until("the past", () => inThePast(other));
  await until("a container of then", async () => (await titles(other)).includes("batch"));
  ok(!(await isEnded(other)), "it ran then");
  await other.locator("#search").fill("shop-api-1");
  await until("a busy one", async () => (await titles(other)).includes("shop-api-1"));
  const cpu = await line(other, "shop-api-1").locator("td.cpu .number").innerText();
  ok(/^1[0-9]|^2[0-9]/.test(cpu), `a fifth of a core, and not ${cpu}`);
  const rows = await other.evaluate(async (at) => {
    const tick = await (await fetch(`/api/feed?at=${at / 1000}`)).json();
    return { at: tick.at, full: tick.full, running: tick.who.filter((who) => who.ended == null).map((who) => who.called) };
  }, moment);
  equal([rows.at, rows.full], [moment, true]);
  ok(rows.running.includes("batch"), `${rows.running}`);
  await other.context().close();
});

test("charts_over_the_span", async () => {
  const other = await open(`/docker/shop-api-1?${then()}`);
  await until("its name", async () => (await other.locator("h2").first().innerText()) === "shop-api-1");
  const value = async (chart, series) =>
    Number(await other.locator(`[data-chart="${chart}"] [data-series="${series}"]`).getAttribute("data-value"));
  await until("CPU", async () => (await value("CPU", "cpu")) > 10);
  const shown = await value("Memory", "working_set");
  const last = await other.evaluate(async (to) => {
    const [info] = Object.values(await (await fetch("/api/v1.3/docker/shop-api-1", { method: "POST", body: JSON.stringify({ num_stats: 0 }) })).json());
    const series = await (await fetch(`/api/feed?series=${info.name}&from=${(to - 295_000) / 1000}&at=${to / 1000}`)).json();
    return series.memory.at(-1) * 1024;
  }, moment);
  equal(shown, last);
  await other.screenshot({ path: `${pictures}/past-detail.png`, fullPage: true });
  await other.getByRole("link", { name: /All containers/ }).click();
  await until("the list of then", async () => (await titles(other)).includes("shop-web-1"));
  ok(other.url().includes("from="), "the span goes along");
  await other.goBack();
  await other.goBack();
  await other.context().close();
});

test("what_happened_in_the_span_is_marked", async () => {
  const span = `from=${new Date(moment - 295_000).toISOString()}&to=${new Date().toISOString()}`;
  const markers = async (name) => {
    const other = await open(`/docker/${name}?${span}`);
    const found = () => other.locator('[data-chart="Memory"] [data-marker]').evaluateAll((all) => all.map((one) => one.dataset.marker).sort());
    return { other, found };
  };
  // A case changed its limit, and cases killed the others.
  const web = await markers("shop-web-1");
  await until("a changed limit", async () => (await web.found()).includes("change") || (await web.found()).join());
  await web.other.screenshot({ path: `${pictures}/past-limit.png`, fullPage: true });
  await web.other.context().close();
  const victim = await markers("victim");
  await until("the kill and its end", async () => {
    const found = (await victim.found()).join();
    return found === "end,kill" || found;
  });
  ok((await victim.other.locator("p.ending").innerText()).startsWith("OOM-killed at its limit of 16.0 MiB"), "how it ended");
  await victim.other.context().close();
});

test("by_minutes_and_back_by_the_browser", async () => {
  const other = await open(`/containers/?${then()}`);
  await until("the past", () => inThePast(other));
  const time = () => banner(other).locator("time").getAttribute("datetime");
  const first = await time();
  await other.getByRole("button", { name: "One minute earlier" }).click();
  equal(Date.parse(first) - Date.parse(await time()), 60_000);
  await other.goBack();
  await until("the time before", async () => (await time()) === first);
  await other.context().close();
});

test("a_span_by_keyboard_alone", async () => {
  const other = await open();
  await until("the list", async () => (await titles(other)).length > 3);
  await lookBack(other).focus();
  await other.keyboard.press("Enter");
  const first = () => other.getByRole("button", { name: "Last hour" }).evaluate((one) => one === document.activeElement);
  await until("the first choice has the focus", first);
  await other.keyboard.press("Escape");
  ok(await lookBack(other).evaluate((one) => one === document.activeElement), "the focus is back");
  await other.keyboard.press("Enter");
  await until("and again", first);
  for (let times = 0; times < 3; times += 1) await other.keyboard.press("Tab");
  equal(await other.evaluate(() => document.activeElement.getAttribute("name")), "from");
  await other.keyboard.press("Enter");
  await until("the past", () => inThePast(other));
  await other.context().close();
});

test("the_past_on_a_phone", async () => {
  const other = await open(`/containers/?${then()}`, { viewport: { width: 360, height: 740 } });
  await until("the past", () => inThePast(other));
  await until("the list", async () => (await titles(other)).length > 3);
  await lookBack(other).click();
  const wide = await other.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  ok(wide <= 0, `${wide} pixels too wide`);
  const box = await other.locator("#span").boundingBox();
  ok(box.x >= 0 && box.x + box.width <= 360, "the choice is within the screen");
  equal(await violations(other), []);
  await other.screenshot({ path: `${pictures}/past-phone.png` });
  await other.context().close();
});

test("axe_finds_nothing_on_the_past", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const other = await open(`/containers/?${then()}`, { colorScheme });
    await until("the list", async () => (await titles(other)).length > 3);
    await lookBack(other).click();
    equal(await violations(other), []);
    await other.context().close();
  }
});

test("without_history_there_is_no_way_back", async () => {
  const other = await open("/containers/", {}, { at: process.env.PAGE_DEGRADED });
  await until("the list", async () => (await titles(other)).length > 0);
  equal(await lookBack(other).count(), 0);
  await other.context().close();
});
