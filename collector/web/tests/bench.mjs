// One tab, measured: `cargo xtask bench --page` starts this with the collector's address. Each line on standard input is a
// question, each line on standard output an answer in JSON.

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.env.PAGE_BROWSER ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
const session = await page.context().newCDPSession(page);
// Time of the thread, not of the clock: what else the machine does is not the page's work.
await session.send("Performance.enable", { timeDomain: "threadTicks" });
await session.send("Network.enable");

/** Bytes of answers, and when they were complete. */
let ticks = [];
const feeds = new Set();
session.on("Network.responseReceived", ({ requestId, response }) => response.url.includes("/api/feed?since=") && feeds.add(requestId));
session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => feeds.has(requestId) && ticks.push(encodedDataLength));

/** Seconds that tasks took on the main thread: scripts, styles, layout. */
async function busy() {
  const { metrics } = await session.send("Performance.getMetrics");
  return metrics.find(({ name }) => name === "TaskDuration").value;
}

/** How many containers the list says that it has. */
const listed = () =>
  page.evaluate(() => Number(/([\d,]+) containers/.exec(document.querySelector(".found")?.textContent ?? "")?.[1].replaceAll(",", "") ?? 0));

let before = 0;
const questions = {
  async open() {
    await page.goto(`${process.env.PAGE_URL}/containers/`);
    await page.waitForSelector("tr.line, tr.group");
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null);
    return { paint, listed: await listed() };
  },
  async begin() {
    ticks = [];
    before = await busy();
    return {};
  },
  async end() {
    const spent = (await busy()) - before;
    return { bytes: ticks, milliseconds: (spent * 1000) / Math.max(1, ticks.length) };
  },
  /** Waits until the list has so many. */
  async listed(count) {
    const end = Date.now() + 60_000;
    while ((await listed()) < Number(count)) {
      if (Date.now() > end) throw new Error(`only ${await listed()} of ${count} are listed`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return { listed: await listed() };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [question, ...rest] = line.split(" ");
  try {
    console.log(JSON.stringify(await questions[question](...rest)));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
}
await browser.close();
