// The live page. Names and all other text go through textContent only: whoever may create a cgroup chooses its name.
"use strict";

const REFRESH_MS = 2000;
const RECONNECT_MS = 2000;
const MOST_ROWS = 500;
const MOST_EVENTS = 200;
const UNKNOWN = "–";

const page = Object.fromEntries(
  ["search", "summary", "containers", "more", "stream", "events"].map((id) => [id, document.getElementById(id)]),
);

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function bytes(value) {
  if (value === null) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(unit === 0 || value >= 100 ? 0 : 1)} ${units[unit]}`;
}

// Bytes moved by all devices. A v1 "Total" row repeats the others, so only the two directions are added up.
function transferred(sample, direction) {
  if (!sample.diskio) return null;
  return (sample.diskio.io_service_bytes ?? []).reduce((sum, disk) => sum + (disk.stats[direction] ?? 0), 0);
}

// Growth per second between the last two samples; null when there is nothing to compare, or the container restarted.
function rate(container, value) {
  const [before, after] = container.stats?.slice(-2) ?? [];
  if (!after) return null;
  const seconds = (Date.parse(after.timestamp) - Date.parse(before.timestamp)) / 1000;
  const [from, to] = [value(before), value(after)];
  return from === null || to === null || to < from || !(seconds > 0) ? null : (to - from) / seconds;
}

function summarise(container) {
  const last = container.stats?.at(-1);
  const nanoseconds = rate(container, (sample) => sample.cpu?.usage.total ?? null);
  return {
    name: container.name,
    called: [container.aliases?.find((alias) => alias !== container.id), container.spec.image].filter(Boolean).join(" · "),
    cpu: nanoseconds === null ? null : nanoseconds / 1e7,
    workingSet: last?.memory?.working_set ?? null,
    read: rate(container, (sample) => transferred(sample, "Read")),
    written: rate(container, (sample) => transferred(sample, "Write")),
    oomKills: last?.oom_events ?? 0,
  };
}

const rows = new Map();
let containers = [];

function row(name) {
  let made = rows.get(name);
  if (!made) {
    const tr = document.createElement("tr");
    const td = element("td", "name", "");
    const called = td.appendChild(element("span", "called", ""));
    td.append(element("span", "cgroup", name));
    tr.append(td);
    const cells = Array.from({ length: 5 }, () => tr.appendChild(element("td", "", "")));
    made = { tr, called, cells };
    rows.set(name, made);
  }
  return made;
}

function perSecond(value) {
  return value === null ? UNKNOWN : `${bytes(value)}/s`;
}

function fill(container) {
  const { tr, called, cells } = row(container.name);
  if (called.textContent !== container.called) called.textContent = container.called;
  const texts = [
    container.cpu === null ? UNKNOWN : `${container.cpu.toFixed(1)} %`,
    bytes(container.workingSet),
    perSecond(container.read),
    perSecond(container.written),
    String(container.oomKills),
  ];
  texts.forEach((text, at) => {
    if (cells[at].textContent !== text) cells[at].textContent = text;
    cells[at].className = text === UNKNOWN ? "unknown" : "";
  });
  if (container.oomKills > 0) cells[4].className = "alarm";
  return tr;
}

function show() {
  const wanted = page.search.value.toLowerCase();
  const found = containers.filter(({ name, called }) => `${called} ${name}`.toLowerCase().includes(wanted));
  const shown = found.slice(0, MOST_ROWS).map(fill);
  const present = page.containers.children;
  if (shown.length !== present.length || shown.some((tr, at) => tr !== present[at])) {
    page.containers.replaceChildren(...shown);
  }
  const hidden = found.length - shown.length;
  page.more.hidden = hidden === 0;
  page.more.textContent = `and ${hidden} more; filter by name to see them`;
  const count = found.length === containers.length ? `${found.length}` : `${found.length} of ${containers.length}`;
  page.summary.textContent = `${count} containers, by CPU`;
}

async function refresh() {
  try {
    const answer = await fetch("api/v1.3/subcontainers/", { method: "POST", body: JSON.stringify({ num_stats: 2 }) });
    if (!answer.ok) throw new Error(await answer.text());
    containers = (await answer.json()).map(summarise);
    containers.sort((a, b) => (b.cpu ?? -1) - (a.cpu ?? -1) || (a.name < b.name ? -1 : 1));
    const names = new Set(containers.map((container) => container.name));
    for (const name of rows.keys()) {
      if (!names.has(name)) rows.delete(name);
    }
    show();
  } catch (error) {
    page.summary.textContent = `No answer: ${error.message}`;
  }
  setTimeout(refresh, REFRESH_MS);
}

function describe(event) {
  const oom = event.event_data.oom;
  if (oom) {
    const parts = [`killed ${oom.process_name || "?"} (pid ${oom.pid || "?"})`];
    if (oom.victim_container_name) parts.push(`in ${oom.victim_container_name}`);
    if (oom.limit_container_name) parts.push(`at the limit of ${oom.limit_container_name}`);
    if (oom.trigger_process_name) parts.push(`set off by ${oom.trigger_process_name} (pid ${oom.trigger_pid ?? "?"})`);
    if (oom.anon_rss_bytes !== undefined) parts.push(`anonymous memory ${bytes(oom.anon_rss_bytes)}`);
    return parts.join(", ");
  }
  const last = event.event_data.deletion?.final_stats;
  if (!last) return "";
  const used = [];
  if (last.cpu) used.push(`CPU ${(last.cpu.usage.total / 1e6).toFixed(1)} ms`);
  if (last.memory?.max_usage) used.push(`memory peak ${bytes(last.memory.max_usage)}`);
  return used.join(", ");
}

function append(event) {
  const item = element("li", event.event_type, "");
  const time = element("time", "", new Date(event.timestamp).toLocaleTimeString());
  time.dateTime = event.timestamp;
  item.append(time, element("strong", "", event.event_type), element("span", "subject", event.container_name));
  const detail = describe(event);
  if (detail) item.append(element("span", "detail", detail));
  page.events.prepend(item);
  while (page.events.children.length > MOST_EVENTS) page.events.lastElementChild.remove();
}

async function follow() {
  try {
    const answer = await fetch("api/v1.3/events/?stream=true&all_events=true&subcontainers=true");
    if (!answer.ok) throw new Error(await answer.text());
    page.stream.textContent = "live";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let line = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the stream ended");
      const lines = (line + value).split("\n");
      line = lines.pop();
      // Of a burst, only what stays on the page; an error is always the last line.
      for (const event of lines.slice(-MOST_EVENTS).map((text) => JSON.parse(text))) {
        if (event.error) throw new Error(event.error);
        append(event);
      }
    }
  } catch (error) {
    page.stream.textContent = `reconnecting: ${error.message}`;
  }
  setTimeout(follow, RECONNECT_MS);
}

page.search.addEventListener("input", show);
refresh();
follow();
