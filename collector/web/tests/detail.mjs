// The page of one container.

import { act, api, equal, line, ok, open, pictures, test, until, url, violations } from "./harness.mjs";
import { page } from "./list.mjs";

const valueOf = async (at, chart, series) =>
  Number(await at.locator(`[data-chart="${chart}"] [data-series="${series}"]`).getAttribute("data-value"));

test("a_row_leads_to_its_container", async () => {
  await page.locator("tr.line", { hasText: "shop-web-1" }).locator("td.tasks").click();
  await until("the address", () => /\/containers\/docker\/[0-9a-f]{64}$/.test(page.url()));
  equal(await page.locator("h2").first().innerText(), "shop-web-1");
});

test("back_by_escape", async () => {
  await page.keyboard.press("Escape");
  await until("the list", () => page.locator(".scroller").count());
});

test("back_by_the_browser", async () => {
  await page.locator("tr.line td.name > a", { hasText: "shop-web-1" }).click();
  await until("its page", () => page.locator(".detail").count());
  await page.goBack();
  await until("the list", () => page.locator(".scroller").count());
});

test("at_dockers_path_by_name", async () => {
  const other = await open("/docker/shop-api-1");
  await until("its name", async () => (await other.locator("h2").first().innerText()) === "shop-api-1");
  await until("its title", async () => (await other.title()).startsWith("shop-api-1"));
  await until("a chart", async () => (await valueOf(other, "CPU", "cpu")) > 5);
  await other.screenshot({ path: `${pictures}/detail.png`, fullPage: true });
  await other.context().close();
});

test("at_dockers_path_by_id", async () => {
  const [info] = Object.values(await api("/api/v1.3/docker/plain", { num_stats: 0 }));
  const other = await open(`/docker/${info.id.slice(0, 12)}`);
  await until("its name", async () => (await other.locator("h2").first().innerText()) === "plain");
  await other.context().close();
});

test("charts_have_the_apis_numbers", async () => {
  const other = await open("/docker/shop-cache-1");
  await until("the same working set", async () => {
    const [info] = Object.values(await api("/api/v1.3/docker/shop-cache-1", { num_stats: 2 }));
    const shown = await valueOf(other, "Memory", "working_set");
    return info.stats.some((sample) => sample.memory.working_set === shown) || `${shown}`;
  });
  await other.context().close();
});

test("the_limit_is_a_line", async () => {
  const other = await open("/docker/shop-cache-1");
  await until("the limit", async () => (await valueOf(other, "Memory", "limit")) === 32 * 1024 ** 2);
  ok((await other.locator('[data-chart="Memory"] canvas').count()) === 1, "a drawing");
  await other.context().close();
});

test("the_quota_is_a_line_and_throttling_a_chart", async () => {
  const other = await open("/docker/shop-api-1");
  await until("the quota", async () => Math.round(await valueOf(other, "CPU", "limit")) === 20);
  await until("throttled", async () => (await valueOf(other, "Throttling", "throttled")) > 25);
  await other.context().close();
});

test("processes_limits_and_labels", async () => {
  const other = await open("/docker/shop-web-1");
  const all = async () => other.locator(".tables").innerText();
  await until("its process", async () => /\d+\s+root\s/.test(await all()) && (await all()).includes("busybox"));
  ok((await all()).includes("com.example.tier") && (await all()).includes("front"), "a label");
  ok(/Memory limit\s+64.0 MiB/.test(await all()), "its limit");
  await other.context().close();
});

test("copied_as_promql", async () => {
  const other = await open("/docker/shop-web-1");
  const button = other.locator('[data-chart="Memory"] .copy');
  await until("a chart", () => button.isVisible());
  await other.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await button.click();
  await until("said", async () => (await button.innerText()) === "Copied");
  const copied = await other.evaluate(() => navigator.clipboard.readText());
  const one = (line, family) => `label_replace(sum by (instance) (${family}{id="…"}), "line", "${line}", "", "")`;
  const lines = [["working set", "working_set_bytes"], ["rss", "rss"], ["cache", "cache"]];
  const expected = lines.map(([line, family]) => one(line, `container_memory_${family}`)).join(" or ");
  const id = /id="(\/docker\/[0-9a-f]{64})"/.exec(copied)?.[1];
  equal(copied.replaceAll(id, "…"), expected);
  // Whatever a chart asks for is there.
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const queries = await other.locator("[data-chart] [data-copies]").evaluateAll((all) => all.map((one) => one.dataset.copies));
  ok(queries.length >= 3, `${queries.length} charts`);
  // A machine may count no I/O of its disk.
  const families = queries.join(" ").match(/container_[a-z_]+/g).filter((family) => !family.startsWith("container_fs_"));
  for (const family of new Set(families)) {
    ok(metrics.split("\n").some((line) => line.startsWith(`${family}{`) && line.includes(`id="${id}"`)), `${family} of ${id}`);
  }
  await other.context().close();
});

test("subcontainers_lead_on", async () => {
  const other = await open("/containers/docker");
  const below = other.getByRole("region", { name: "Subcontainers" });
  await until("its containers", async () => (await below.innerText()).includes("shop-web-1"));
  await below.getByText("shop-web-1").click();
  await until("its page", async () => (await other.locator("h2").first().innerText()) === "shop-web-1");
  await other.context().close();
});

test("the_machine_has_a_page", async () => {
  await page.getByRole("link", { name: "Machine", exact: true }).click();
  await until("its charts", async () => (await valueOf(page, "Memory", "working_set")) > 1024 ** 2);
  await page.keyboard.press("Escape");
});

test("who_is_unknown_is_said", async () => {
  const other = await open("/docker/nobody-here");
  await until("words", async () => (await other.locator(".detail").innerText()).includes("No container is called “nobody-here”"));
  await other.getByRole("link", { name: "See all containers" }).click();
  await until("the list", () => other.locator(".scroller").count());
  await other.context().close();
});

test("a_changed_limit_is_marked", async () => {
  const other = await open("/docker/shop-web-1");
  await until("the limit before", async () => (await valueOf(other, "Memory", "limit")) === 64 * 1024 ** 2);
  // The list knows it earlier than the page of the container, which sees what changes from then on.
  await until("a sample", async () => (await valueOf(other, "Memory", "working_set")) > 0);
  await act("limit");
  await until("a marker", () => other.locator('[data-chart="Memory"] [data-marker="change"]').count(), 30000);
  equal(await valueOf(other, "Memory", "limit"), 48 * 1024 ** 2);
  await other.context().close();
});

test("an_oom_kill_is_marked_within_two_seconds", async () => {
  const [listed, detail] = [await open(), await open("/docker/leaky")];
  const chart = detail.locator('[data-chart="Memory"] [data-marker="kill"]');
  await until("a chart", () => detail.locator('[data-chart="Memory"]').isVisible());
  await until("events", async () => (await listed.locator(".dock h2").innerText()).includes("live"));
  const before = await chart.count();
  equal(before, 0, "kills before");
  await act("oom");
  await until("the marker", () => chart.count(), 4000);
  const marked = Date.now();
  await until("the line", async () => (await listed.locator(".dock li.kill").count()) > 0, 1000);
  const [event] = await api("/api/v1.3/events/?oom_events=true&subcontainers=true&max_events=1");
  const took = marked - Date.parse(event.timestamp);
  ok(took < 2000, `${took} ms after the kill`);
  await detail.screenshot({ path: `${pictures}/oom.png` });
  await detail.context().close();
  await listed.context().close();
});

test("an_oom_killed_container_that_is_gone_says_why", async () => {
  await act("oomend");
  const row = line(page, "victim");
  await until("why, first", async () => {
    const said = (await row.locator("td.name").innerText()).replace(/\s+/g, " ");
    return /^victim OOM-killed at its limit of 16.0 MiB ended .* ago · ran .* · peak/.test(said) || said;
  });
  const hurting = page.locator(".attention li", { hasText: "victim" });
  await until("among what hurts", async () => {
    const said = (await hurting.innerText()).replace(/\s+/g, " ");
    return /OOM-killed at its limit of 16.0 MiB ended .* ago/.test(said) || said;
  });
  // A page that is opened after the end has its last minutes from the history on disk.
  const other = await open("/docker/victim");
  const end = other.locator("p.ending");
  await until("in words", async () => {
    const said = await end.innerText();
    return /^OOM-killed at its limit of 16\.0 MiB, .* ago at \d\d:\d\d:\d\d\. It had run for .*, used at most .* MiB and had one process killed for want of memory\.$/.test(said) || said;
  });
  const chart = other.locator('[data-chart="Memory"]');
  await until("its last chart", () => chart.locator("canvas").isVisible());
  await until("the kill in it", () => chart.locator('[data-marker="kill"]').count());
  await until("its end in it", () => chart.locator('[data-marker="end"]').count());
  equal(await valueOf(other, "Memory", "limit"), 16 * 1024 ** 2);
  ok(!(await other.locator(".detail").innerText()).includes("Processes"), "processes of what is gone");
  equal(await violations(other), []);
  await other.screenshot({ path: `${pictures}/gone.png`, fullPage: true });
  await other.context().close();
});

test("a_kill_is_one_line_with_its_limit", async () => {
  const lines = page.locator(".dock li.kill", { hasText: "leaky" });
  await until("one", async () => (await lines.count()) === 1);
  const said = (await lines.innerText()).replace(/\s+/g, " ");
  ok(/leaky: \S+ killed at its limit of 16.0 MiB/.test(said), said);
  await until("a badge", async () => (await page.locator(".attention li", { hasText: "leaky" }).innerText()).includes("OOM-killed"));
});
