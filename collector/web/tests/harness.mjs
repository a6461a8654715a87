// What the cases stand on: one browser, one line on standard output for each case, and actions that the end-to-end suite
// carries out for them: a line `ACT name` asks for one, an answer on standard input says that it is done.

import { createInterface } from "node:readline";
import axe from "axe-core";
import { chromium } from "playwright-core";

export const url = process.env.PAGE_URL;
export const pictures = process.env.PAGE_PICTURES;

const answers = createInterface({ input: process.stdin });
const waiting = [];
answers.on("line", (line) => waiting.shift()?.(line));

/** Has the suite do something in the world outside of the browser; what it answers. */
export async function act(name) {
  const answer = new Promise((resolve) => waiting.push(resolve));
  console.log(`ACT ${name}`);
  const text = await answer;
  if (!text.startsWith("OK")) throw new Error(`${name}: ${text}`);
  return text.slice(3);
}

export const browser = await chromium.launch({
  executablePath: process.env.PAGE_BROWSER ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

/** Everything that a browser complained of, and every request that left the collector. */
export const complaints = [];
export const strangers = [];
/** What a browser says of a request without a token or a password. */
export const UNAUTHORIZED = /the server responded with a status of 401/;

/** Opens a page. What is expected among the browser's complaints is no reason to complain. */
export async function open(path = "/containers/", options = {}, { expected = /^$/, at = url } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(8000);
  page.on("console", (message) => {
    const complains = ["error", "warning"].includes(message.type()) && !expected.test(message.text());
    if (complains) complaints.push(`${path}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${path}: ${error.message}`));
  page.on("dialog", (dialog) => complaints.push(`${path}: a dialog: ${dialog.message()}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(at).origin && !request.url().startsWith("data:")) strangers.push(request.url());
  });
  await page.goto(at + path);
  return page;
}

export function equal(actual, expected, about = "") {
  const [one, other] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${about} ${one} and not ${other}`);
}

export function ok(condition, about) {
  if (!condition) throw new Error(about);
}

/** Waits until the condition is true, or a number other than 0; anything else says what is still amiss. */
export async function until(about, condition, milliseconds = 15000) {
  const end = Date.now() + milliseconds;
  let last;
  for (;;) {
    try {
      last = await condition();
      if (last === true || (typeof last === "number" && last > 0)) return;
    } catch (error) {
      last = error.message;
    }
    if (Date.now() > end) throw new Error(`${about}: ${JSON.stringify(last)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const line = (page, title) => page.locator("tr.line", { has: page.locator(`td.name > a:text-is("${title}")`) });
export const titles = (page) => page.locator("tr.line td.name > a").allTextContents();

export async function text(page, title, column) {
  return (await line(page, title).locator(`td.${column}`).innerText()).replace(/\s+/g, " ").trim();
}

export async function api(path, body) {
  const answer = await fetch(url + path, body ? { method: "POST", body: JSON.stringify(body) } : {});
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/** What axe finds wrong with the page as it is. */
export async function violations(page) {
  // The policy lets no script in from elsewhere, except through the debugger.
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`);
}

const cases = [];
export function test(name, run) {
  cases.push({ name, run });
}

export async function runAll() {
  const only = process.env.PAGE_ONLY;
  for (const { name, run } of cases.filter(({ name }) => !only || only.split(",").some((part) => name.includes(part)))) {
    const began = Date.now();
    try {
      await run();
      console.log(`CASE ok ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
      console.log(`CASE failed ${name}: ${error.message.replace(/\s*\n\s*/g, " | ").slice(0, 600)}`);
    }
  }
  await browser.close();
  answers.close();
}
