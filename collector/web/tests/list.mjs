// The list: names, groups, figures, sorting, searching.

import { act, api, equal, line, ok, open, pictures, test, text, titles, until, url, violations } from "./harness.mjs";

/** One page for most cases; each leaves it as it found it. */
export const page = await open();
const search = page.locator("#search");

async function searched(words) {
  await search.fill(words);
  await page.waitForTimeout(120);
  const found = await titles(page);
  await search.fill("");
  await page.waitForTimeout(80);
  return found;
}

/** What else runs on the machine is not known. */
const ofTheShop = async () => (await titles(page)).filter((title) => title.startsWith("shop-"));

test("names_of_docker", async () => {
  await until("containers", async () => (await titles(page)).includes("shop-web-1"));
  ok((await titles(page)).includes("plain"), "a container without a project");
});

test("images_beside_names", async () => {
  ok((await text(page, "shop-web-1", "name")).includes("collector-test-busybox"), await text(page, "shop-web-1", "name"));
});

test("compose_projects_are_groups", async () => {
  const group = page.locator("tr.group", { hasText: "compose" }).filter({ hasText: "shop" });
  equal(await group.count(), 1, "groups of the project");
});

test("pods_are_groups_and_name_their_containers", async () => {
  const group = page.locator("tr.group", { hasText: "prod/auth-7d9f" });
  await until("the pod", async () => (await group.count()) === 1);
  ok((await titles(page)).includes("envoy") && (await titles(page)).includes("auth"), "names in the pod");
});

test("slices_of_systemd_are_groups", async () => {
  await act("service");
  await search.fill("backup.service");
  const group = page.locator("tr.group", { hasText: "night-jobs.slice" });
  await until("the slice, with its name unescaped", async () => (await group.count()) === 1);
  equal(await titles(page), ["backup.service"]);
  await act("few");
  await search.fill("");
});

test("no_parent_is_among_its_children", async () => {
  const all = await titles(page);
  ok(!all.includes("docker") && !all.includes("/"), all.join(" "));
});

test("every_container_is_there_once", async () => {
  const all = (await titles(page)).filter((title) => title.startsWith("shop-"));
  equal(all.length, new Set(all).size, all.join(" "));
});

test("cpu_of_its_quota", async () => {
  await until("at most a fifth of a core", async () => {
    const shown = await text(page, "shop-api-1", "cpu");
    const [used, quota] = (/([\d.]+) %\s*\/ (\d+)/.exec(shown) ?? []).slice(1).map(Number);
    // On a busy machine it does not get all of it.
    return (used > 2 && used < 28 && quota === 20) || shown;
  });
});

test("throttling_hurts", async () => {
  await until("red", () => line(page, "shop-api-1").locator("td.throttled.hurts").count());
});

test("memory_is_the_apis", async () => {
  const all = await api("/api/v1.3/docker/shop-cache-1", { num_stats: 1 });
  const bytes = Object.values(all)[0].stats[0].memory.working_set;
  const shown = await text(page, "shop-cache-1", "memory");
  const [, number, unit] = /([\d.]+) (KiB|MiB)/.exec(shown);
  const value = Number(number) * (unit === "MiB" ? 1024 ** 2 : 1024);
  ok(Math.abs(value - bytes) < bytes * 0.1, `${shown} and ${bytes} bytes`);
});

test("memory_at_its_limit_hurts", async () => {
  await until("red", () => line(page, "shop-cache-1").locator("td.memory.hurts").count(), 20000);
  ok((await text(page, "shop-cache-1", "memory")).includes("/ 32.0 MiB"), await text(page, "shop-cache-1", "memory"));
});

test("what_hurts_comes_first", async () => {
  const attention = page.getByRole("region", { name: "What hurts" });
  await until("all that hurts", async () => {
    const all = await attention.innerText();
    return ["shop-api-1", "throttled", "shop-cache-1", "of 32.0 MiB"].every((part) => all.includes(part)) || all;
  });
});

test("a_crash_loop_is_found", async () => {
  await until("a badge", () => line(page, "shop-worker-1").locator(".badge.looping").count(), 20000);
});

test("sorted_by_a_click", async () => {
  const head = page.getByRole("columnheader", { name: "Memory" });
  equal(await page.getByRole("columnheader", { name: "CPU" }).getAttribute("aria-sort"), "descending");
  await page.getByRole("button", { name: "Flat" }).click();
  await head.getByRole("button").click();
  equal(await head.getAttribute("aria-sort"), "descending");
  await page.mouse.move(5, 5);
  await until("the cache before the others", async () => (await ofTheShop())[0] === "shop-cache-1" || (await ofTheShop()));
});

test("sorted_the_other_way_by_another", async () => {
  const head = page.getByRole("columnheader", { name: "Memory" });
  await head.getByRole("button").click();
  equal(await head.getAttribute("aria-sort"), "ascending");
  await until("behind them", async () => (await ofTheShop())[0] !== "shop-cache-1");
});

test("sorted_by_name", async () => {
  await page.getByRole("columnheader", { name: "Name" }).getByRole("button").click();
  await page.mouse.move(5, 5);
  await until("the alphabet", async () => {
    const alive = await page.locator("tr.line:not(.ended) td.name > a").allTextContents();
    const names = alive.map((name) => name.toLowerCase());
    return JSON.stringify(names) === JSON.stringify([...names].sort()) || names;
  });
  await page.getByRole("columnheader", { name: "CPU" }).getByRole("button").click();
  await page.getByRole("button", { name: "Grouped" }).click();
});

test("a_group_is_folded", async () => {
  const group = page.locator("tr.group button", { hasText: "shop" });
  await group.click();
  await until("folded", async () => (await group.getAttribute("aria-expanded")) === "false");
  await until("no member", async () => !(await titles(page)).includes("shop-web-1"));
  equal(await searched("shop-web"), ["shop-web-1"], "what is found in a folded group");
  await until("folded again", async () => !(await titles(page)).includes("shop-web-1"));
  await group.click();
  await until("its members", async () => (await titles(page)).includes("shop-web-1"));
});

test("the_tree_of_cgroups", async () => {
  await page.getByRole("button", { name: "cgroup tree" }).click();
  await until("the parents", async () => {
    const all = await titles(page);
    return all[0] === "/" && all.includes("docker");
  });
  const fold = line(page, "docker").locator("button.fold");
  await fold.click();
  await until("folded", async () => !(await titles(page)).includes("shop-web-1"));
  await fold.click();
  await page.getByRole("button", { name: "Grouped" }).click();
});

test("searched_by_name", async () => equal(await searched("shop-web"), ["shop-web-1"]));
test("searched_by_namespace_and_pod", async () => equal((await searched("prod auth-7d9f")).sort(), ["auth", "envoy"]));
test("searched_by_image", async () => ok((await searched("test-busybox")).includes("shop-web-1"), "the image"));
test("searched_by_label", async () => equal(await searched("com.example.tier=front"), ["shop-web-1"]));
test("searched_by_id", async () => {
  const [info] = Object.values(await api("/api/v1.3/docker/plain", { num_stats: 0 }));
  equal(await searched(info.id.slice(0, 20)), ["plain"]);
});

test("nothing_found_is_said", async () => {
  await search.fill("no-such-thing");
  await until("words", async () => (await page.locator(".scroller .nothing").innerText()).includes("no-such-thing"));
  await page.keyboard.press("Escape");
  equal(await search.inputValue(), "", "Escape clears the search");
});

test("what_was_chosen_is_in_the_address", async () => {
  const other = await open("/containers/?q=shop&view=flat&sort=-memory");
  await until("the search", async () => (await titles(other)).every((title) => title.startsWith("shop-")) && (await titles(other)).length > 0);
  equal(await other.getByRole("columnheader", { name: "Memory" }).getAttribute("aria-sort"), "descending");
  equal(await other.locator("#search").inputValue(), "shop");
  await other.context().close();
});

test("sparklines_begin_before_the_page_was_opened", async () => {
  const other = await open("/containers/?q=shop-api-1");
  await until("two minutes", async () => {
    const path = await line(other, "shop-api-1").locator(".spark path").getAttribute("d");
    return (path.match(/L/g) ?? []).length > 3;
  });
  await other.context().close();
});

test("only_what_changed_is_sent", async () => {
  const first = await fetch(`${url}/api/feed`);
  const all = await first.text();
  const { cursor } = JSON.parse(all);
  await page.waitForTimeout(700);
  const later = await (await fetch(`${url}/api/feed?since=${cursor}`)).json();
  ok(later.full === false && later.who.length < JSON.parse(all).who.length / 2, `${later.who.length} rows again`);
});

test("answers_are_compressed", async () => {
  const answer = await page.evaluate(async () => {
    const answer = await fetch(new URL("api/v1.3/subcontainers/", document.baseURI));
    return { coding: answer.headers.get("content-encoding"), list: (await answer.json()).length };
  });
  ok(answer.coding === "gzip" || answer.coding === "zstd", `${answer.coding}`);
  ok(answer.list > 5, "the list");
});

test("paused_while_hidden", async () => {
  const other = await open();
  await until("live", async () => (await other.locator(".connection").innerText()) === "live");
  const hide = (hidden) =>
    other.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  await hide(true);
  await other.waitForTimeout(300);
  let asked = 0;
  other.on("request", () => (asked += 1));
  await other.waitForTimeout(2600);
  equal(asked, 0, "requests of a hidden tab");
  await hide(false);
  await until("asked again", () => asked > 0);
  await until("live", async () => (await other.locator(".connection").innerText()) === "live");
  await other.context().close();
});

test("a_collector_that_is_gone_is_said_and_found_again", async () => {
  const other = await open("/containers/", {}, { expected: /net::ERR_/ });
  await until("live", async () => (await other.locator(".connection").innerText()) === "live");
  await other.route("**/api/feed*", (route) => route.abort());
  await until("no answer", async () => (await other.locator(".connection").innerText()).startsWith("no answer"));
  const banner = other.getByRole("alert", { name: "No answer" });
  const said = await banner.innerText();
  ok(/does not answer: it cannot be reached\. What is shown is of \d\d:\d\d:\d\d, and may be over/.test(said), said);
  equal(await violations(other), []);
  await other.screenshot({ path: `${pictures}/no-answer.png` });
  await other.unroute("**/api/feed*");
  await until("live again", async () => (await other.locator(".connection").innerText()) === "live");
  equal(await banner.count(), 0, "banners");
  await other.context().close();
});

test("an_ended_container_is_kept", async () => {
  await act("end");
  const ended = line(page, "batch");
  await until("grey", async () => (await ended.getAttribute("class")).includes("ended"));
  await until("how it ended", async () => /killed by SIGKILL from docker ended .* ago · ran .* · peak [\d.]+ (KiB|MiB)/.test(await text(page, "batch", "name")));
});
