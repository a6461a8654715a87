// The page in a real browser, over live containers. `cargo xtask test page` starts it with everything it needs.

import { UNAUTHORIZED, act, complaints, equal, line, ok, open, pictures, runAll, strangers, test, titles, until, url, violations } from "./harness.mjs";
import { page } from "./list.mjs";
import "./detail.mjs";

test("events_of_the_past_come_first", async () => {
  const other = await open("/containers/?q=leaky");
  await until("the kill", async () => (await other.locator(".dock li.kill").count()) > 0);
  ok((await other.locator(".dock li.start").count()) > 0, "its start");
  await other.context().close();
});

test("events_follow_the_search", async () => {
  await page.locator("#search").fill("leaky");
  await until("only these", async () => {
    const lines = await page.locator(".dock li .what").allInnerTexts();
    return lines.length > 0 && lines.every((line) => line.startsWith("leaky"));
  });
  await page.locator("#search").fill("");
});

test("reloaded_in_the_middle_of_a_burst", async () => {
  const other = await open();
  const burst = act("burst");
  for (let times = 0; times < 3; times += 1) {
    await other.waitForTimeout(250);
    await other.reload();
  }
  await burst;
  await until("live", async () => (await other.locator(".connection").innerText()) === "live");
  await until("events", async () => (await other.locator(".dock h2").innerText()).includes("live"));
  await until("the list", async () => (await titles(other)).includes("shop-web-1"));
  await other.context().close();
});

test("what_is_missing_is_said_with_its_fix", async () => {
  const other = await open("/containers/", {}, { at: process.env.PAGE_DEGRADED });
  await until("words", async () => {
    const said = await other.locator(".degraded").innerText();
    return (said.includes("Docker") && said.length > 60) || said;
  });
  await other.context().close();
});

test("hostile_names_are_harmless", async () => {
  const name = await act("hostile");
  await until("as text", async () => (await page.content()).includes("&lt;img src=x onerror"));
  equal(await page.evaluate(() => globalThis.hacked), undefined);
  equal(await page.locator(".scroller img").count(), 0);
  // Long names, and names from right to left, leave everything in its place.
  const narrow = await open("/containers/?view=flat&sort=name", { viewport: { width: 390, height: 844 } });
  for (const [search, title] of [["long-xxx", `long-${"x".repeat(200)}`], ["שלום", "שלום-عربي 🚀"]]) {
    await narrow.locator("#search").fill(search);
    await until(title, async () => (await titles(narrow))[0] === title);
    ok((await narrow.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, `${title}: too wide`);
  }
  await narrow.context().close();
  const other = await open(`/containers/${encodeURIComponent(name.slice(1))}`);
  await until("its page", async () => (await other.locator("h2").first().innerText()).includes("<img"));
  equal(await other.evaluate(() => globalThis.hacked), undefined);
  await other.context().close();
});

test("labels_are_only_text", async () => {
  const other = await open("/docker/plain");
  await until("a label", async () => (await other.locator(".tables").innerText()).includes("<script>hacked=1</script>"));
  equal(await other.evaluate(() => globalThis.hacked), undefined);
  await other.context().close();
});

test("the_policy_allows_nothing_inline", async () => {
  const answer = await fetch(`${url}/containers/`);
  const policy = answer.headers.get("content-security-policy");
  ok(policy.includes("default-src 'none'") && !policy.includes("unsafe"), policy);
  const blocked = await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "globalThis.hacked = 1";
    document.head.append(script);
    return globalThis.hacked === undefined;
  });
  ok(blocked, "an inline script ran");
  // What the browser says of it is as it should be.
  complaints.splice(0, complaints.length, ...complaints.filter((text) => !/Content Security Policy/.test(text)));
});

test("by_keyboard_alone", async () => {
  const other = await open();
  await until("the list", async () => (await titles(other)).includes("shop-web-1"));
  await other.keyboard.press("/");
  await other.keyboard.type("shop-web");
  await until("found", async () => (await titles(other)).length === 1);
  // A key that is pressed while the list is drawn anew may be lost; past the last row there is nowhere to go.
  await until("the focus on its row", async () => {
    await other.keyboard.press("ArrowDown");
    return (await other.evaluate(() => document.activeElement.textContent)) === "shop-web-1";
  });
  await other.keyboard.press("Enter");
  await until("its page", async () => (await other.locator("h2").first().innerText()) === "shop-web-1");
  await other.keyboard.press("Escape");
  await until("back", () => other.locator(".scroller").count());
  await other.context().close();
});

test("tab_reaches_everything", async () => {
  const other = await open();
  await until("the list", async () => (await titles(other)).includes("shop-web-1"));
  const seen = new Set();
  for (let times = 0; times < 60; times += 1) {
    await other.keyboard.press("Tab");
    seen.add(await other.evaluate(() => document.activeElement.closest(".toolbar, thead, tbody, .dock, header, .attention")?.className || document.activeElement.closest("thead, tbody")?.tagName));
  }
  for (const part of ["toolbar", "THEAD", "TBODY", "dock", "attention"]) ok(seen.has(part), `${part}: ${[...seen]}`);
  await other.context().close();
});

for (const [name, path, options] of [
  ["the_list", "/containers/", {}],
  ["the_list_in_the_dark", "/containers/", { colorScheme: "dark" }],
  ["the_tree", "/containers/?view=tree", {}],
  ["a_container", "/docker/shop-api-1", {}],
  ["a_container_in_the_dark", "/docker/shop-cache-1", { colorScheme: "dark" }],
  ["a_phone", "/containers/", { viewport: { width: 390, height: 844 } }],
]) {
  test(`axe_finds_nothing_on_${name}`, async () => {
    const other = await open(path, options);
    await until("content", async () => (await other.locator(".scroller tr.line, .legend b").count()) > 0);
    await other.waitForTimeout(400);
    equal(await violations(other), []);
    if (path === "/containers/") {
      await other.screenshot({ path: `${pictures}/${options.viewport ? "phone" : options.colorScheme ? "dark" : "light"}.png` });
    }
    await other.context().close();
  });
}

test("a_picture_for_the_readme", async () => {
  // Without what else is on the machine.
  const other = await open("/containers/?q=collector-test-busybox");
  await until("the list", async () => (await titles(other)).includes("shop-web-1"));
  await other.waitForTimeout(3000);
  await other.screenshot({ path: `${pictures}/readme.png` });
  await other.context().close();
});

for (const width of [360, 390, 768, 1024, 3840]) {
  test(`fits_${width}_pixels`, async () => {
    const other = await open("/containers/", { viewport: { width, height: 800 } });
    await until("the list", async () => (await titles(other)).length > 3);
    const wide = await other.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    ok(wide <= 0, `${wide} pixels too wide`);
    if (width < 720) {
      const card = await line(other, "shop-cache-1").boundingBox();
      const memory = await line(other, "shop-cache-1").locator("td.memory").boundingBox();
      ok(card.width <= width && memory.x + memory.width <= width, "memory needs sideways scrolling");
      ok(await line(other, "shop-cache-1").locator("td.oom").isVisible(), "OOM kills are not seen");
    }
    await other.context().close();
  });
}

test("a_container_fits_a_phone_and_events_have_a_tab", async () => {
  const other = await open("/docker/shop-api-1", { viewport: { width: 360, height: 740 } });
  await until("a chart", () => other.locator('[data-chart="CPU"] canvas').isVisible());
  ok((await other.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, "too wide");
  await other.getByRole("link", { name: /All containers/ }).click();
  await other.getByRole("button", { name: "Events", exact: true }).click();
  await until("events", () => other.locator(".dock li").first().isVisible());
  await other.screenshot({ path: `${pictures}/events.png` });
  await other.context().close();
});

test("dark_is_dark", async () => {
  const other = await open("/containers/", { colorScheme: "dark" });
  const [paper, ink] = await other.evaluate(() => [getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]);
  const brightness = (colour) => colour.match(/\d+/g).slice(0, 3).reduce((sum, value) => sum + Number(value), 0);
  ok(brightness(paper) < 100 && brightness(ink) > 600, `${ink} on ${paper}`);
  await other.context().close();
});

test("below_a_prefix", async () => {
  const at = process.env.PAGE_BELOW;
  const { origin, pathname } = new URL(at);
  const other = await open("/", {}, { at });
  const outside = [];
  other.on("request", (request) => {
    if (!request.url().startsWith(`${origin}${pathname}/`)) outside.push(request.url());
  });
  await until("the list", async () => (await titles(other)).includes("shop-web-1"));
  await line(other, "shop-web-1").locator("td.name > a").click();
  await until("its page", () => new RegExp(`^${at}/containers/docker/[0-9a-f]{64}$`).test(other.url()));
  await other.reload();
  await until("its charts", () => other.locator('[data-chart="CPU"] canvas').isVisible());
  equal(outside, []);
  await other.context().close();
});

test("a_token_is_asked_for", async () => {
  const other = await open("/docker/shop-web-1", {}, { at: process.env.PAGE_TOKEN, expected: UNAUTHORIZED });
  await until("the field", () => other.locator("#token").isVisible());
  equal(await violations(other), []);
  await other.locator("#token").fill("wrong");
  await other.keyboard.press("Enter");
  await until("words", async () => (await other.locator(".login").innerText()).includes("does not know this token"));
  await other.locator("#token").fill("right-token");
  await other.keyboard.press("Enter");
  await until("its page", async () => (await other.locator("h2").first().innerText()) === "shop-web-1");
  await other.reload();
  await until("still", async () => (await other.locator("h2").first().innerText()) === "shop-web-1");
  await until("events", async () => (await other.locator(".detail").innerText()).includes("Events"));
  await other.context().close();
});

test("behind_a_password", async () => {
  const credentials = { username: "ann", password: "secret" };
  const other = await open("/containers/", { httpCredentials: credentials }, { at: process.env.PAGE_PASSWORD, expected: UNAUTHORIZED });
  await until("the list", async () => (await titles(other)).includes("shop-web-1"));
  await other.context().close();
});

test("behind_a_digest", async () => {
  const credentials = { username: "ann", password: "secret" };
  const other = await open("/containers/", { httpCredentials: credentials }, { at: process.env.PAGE_DIGEST, expected: UNAUTHORIZED });
  const schemes = [];
  const scheme = (headers) => headers.authorization?.split(" ")[0] ?? "none";
  // Of a request that ends with the page there are none.
  other.on("request", (request) => void request.allHeaders().then((headers) => schemes.push(scheme(headers)), () => {}));
  await until("the list", async () => (await titles(other)).includes("shop-web-1"));
  await until("events", async () => (await other.locator(".dock h2").innerText()).includes("live"));
  await line(other, "shop-web-1").locator("td.name > a").click();
  await until("its charts", () => other.locator('[data-chart="CPU"] canvas').isVisible());
  ok(!schemes.includes("Basic"), `${schemes}`);
  await other.context().close();
});

test("three_thousand_cgroups", async () => {
  await act("alone");
  const other = await open();
  await until("the list", async () => (await titles(other)).includes("shop-web-1"));
  await act("many");
  const began = Date.now();
  await until("all of them", async () => /3,\d{3} containers/.test(await other.locator(".found").innerText()), 30000);
  const listed = Date.now() - began;
  ok(listed < 2000, `listed ${listed} ms after the last was made`);
  const fresh = await open();
  await until("all of them at once", async () => /3,\d{3} containers/.test(await fresh.locator(".found").innerText()));
  const paint = await fresh.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  // Three thousand events push no kill out of sight.
  await until("what was killed before", async () => (await fresh.locator(".attention").innerText()).includes("leaky"));
  await fresh.context().close();
  ok((await other.locator("tr.line").count()) < 90, "only what is seen is in the document");
  const sizes = [];
  const session = await other.context().newCDPSession(other);
  await session.send("Network.enable");
  const feeds = new Set();
  session.on("Network.responseReceived", ({ requestId, response }) => response.url.includes("/api/feed?since=") && feeds.add(requestId));
  session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => feeds.has(requestId) && sizes.push(encodedDataLength));
  await session.send("Performance.enable");
  const layouts = async () => (await session.send("Performance.getMetrics")).metrics.find(({ name }) => name === "LayoutCount").value;
  await other.evaluate(() => performance.clearMeasures());
  const before = await layouts();
  await until("four ticks", () => sizes.length >= 4, 20000);
  const made = (await layouts()) - before;
  ok(Math.max(...sizes) < 100_000, `${sizes} bytes a tick`);
  const work = await other.evaluate(() => {
    const of = (name) => performance.getEntriesByName(name).map(({ duration }) => duration);
    const median = (list) => list.sort((one, other) => one - other)[list.length >> 1];
    return { take: median(of("take")), show: median(of("show")), shown: of("show").length };
  });
  console.log(`FIGURES 3,000 cgroups: ${sizes.map((size) => (size / 1000).toFixed(1)).join(", ")} kB a tick, main thread ${(work.take + work.show).toFixed(1)} ms a tick, ${made} layouts for ${work.shown} drawings, first paint after ${paint?.toFixed(0)} ms, listed ${listed} ms after the last was made`);
  // What glides is laid out at every frame: three thousand rows sixty times a second.
  ok(made <= 2 * work.shown + 4, `${made} layouts for ${work.shown} drawings`);
  await other.locator("#search").fill("many-2999");
  await until("found", async () => (await titles(other)).length === 1);
  await other.locator("#search").fill("");
  await other.locator(".scroller").evaluate((element) => element.scrollTo(0, 50_000));
  await until("further down", async () => (await titles(other)).length > 10);
  await other.screenshot({ path: `${pictures}/many.png` });
  await other.context().close();
  await act("few");
});

// After all others, whose moments it looks back at.
await import("./past.mjs");

test("nothing_comes_from_elsewhere", async () => equal([...new Set(strangers)], []));
test("the_browser_complains_of_nothing", async () => equal([...new Set(complaints)], []));

await runAll();
