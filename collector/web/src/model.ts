// Containers as the page shows them: what they are called, what they belong to, what hurts.

import { bytes, span, visible } from "./format";

export const TICK_MS = 2000;
/** Points of a sparkline: two minutes of ticks. */
export const POINTS = 60;

const POD_NAME = "io.kubernetes.pod.name";
const POD_NAMESPACE = "io.kubernetes.pod.namespace";
const CONTAINER_NAME = "io.kubernetes.container.name";
const PROJECTS = ["com.docker.compose.project", "io.podman.compose.project"];
const SERVICES = ["com.docker.compose.service", "io.podman.compose.service"];

/** What the collector says of a container when that changes. */
export interface Who {
  id: number;
  name: string;
  runtime?: string;
  container?: string;
  called?: string;
  image?: string;
  labels?: Record<string, string>;
  pod?: string;
  health?: string;
  created?: number;
  started?: number;
  cpu_limit?: number;
  memory_limit?: number;
  task_limit?: number;
  /** How its first process ended, in words. */
  exit?: string;
  ended?: number;
}

/** What it uses; the keys are those of the feed's columns. */
export const FIGURES = [
  "cpu",
  "throttled",
  "memory",
  "peak",
  "cpu_pressure",
  "memory_pressure",
  "io_pressure",
  "received",
  "sent",
  "read",
  "written",
  "tasks",
  "oom_kills",
] as const;
export type Figure = (typeof FIGURES)[number];
export type Figures = Record<Figure, number | null>;

export interface Row extends Who, Figures {
  title: string;
  group: string;
  groupKind: "project" | "pod" | "slice" | "runtime" | "cgroup";
  /** Everything that is searched, in lower case. */
  text: string;
  /** The title as it sorts: with its numbers in the order of numbers. */
  order: string;
  /** How often its runtime had started it again, and when that was seen. */
  restartsSeen: [at: number, count: number][];
  /** CPU of the last two minutes. */
  trend: (number | null)[];
  hasTrend: boolean;
}

const HASH = /[0-9a-f]{32,64}/g;

/** The uid of a pod in a cgroup's path. */
const POD = /pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})/;

/** Ids shortened as runtimes show them. */
export function shortened(name: string): string {
  return name.replace(HASH, (id) => id.slice(0, 12));
}

/** systemd's names of units, read as a person would write them. */
function unescaped(segment: string): string {
  return segment.replace(/\\x([0-9a-f]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}

function label(who: Who, ...keys: string[]): string | undefined {
  for (const key of keys) {
    const value = who.labels?.[key];
    if (value) return value;
  }
  return undefined;
}

function parentOf(name: string): string {
  const at = name.lastIndexOf("/");
  return at <= 0 ? "/" : name.slice(0, at);
}

function lastOf(name: string): string {
  return name === "/" ? "/" : name.slice(name.lastIndexOf("/") + 1);
}

function titled(who: Who): string {
  const inPod = label(who, CONTAINER_NAME);
  if (inPod) return inPod === "POD" ? "(sandbox)" : inPod;
  if (label(who, POD_NAME) && who.runtime) return "(sandbox)";
  if (who.called) return who.called;
  if (who.container) return who.container.slice(0, 12);
  return shortened(unescaped(lastOf(who.name)));
}

function grouped(who: Who): Pick<Row, "group" | "groupKind"> {
  const pod = label(who, POD_NAME);
  if (pod) return { group: `${label(who, POD_NAMESPACE) ?? "default"}/${pod}`, groupKind: "pod" };
  // As long as no runtime has reported more.
  const uid = who.pod ?? POD.exec(who.name)?.[1]?.replaceAll("_", "-");
  if (uid) return { group: `pod ${uid.slice(0, 8)}`, groupKind: "pod" };
  const project = label(who, ...PROJECTS);
  if (project) return { group: project, groupKind: "project" };
  if (who.runtime) return { group: who.runtime, groupKind: "runtime" };
  const slice = who.name
    .split("/")
    .filter((segment) => segment.endsWith(".slice"))
    .at(-1);
  if (slice) return { group: unescaped(slice), groupKind: "slice" };
  return { group: shortened(parentOf(who.name)), groupKind: "cgroup" };
}

/** Takes what the collector says of a container, and keeps what is known of its figures. */
export function described(who: Who, before: Row | undefined): Row {
  const labels = Object.entries(who.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  const title = visible(titled(who));
  const { group, groupKind } = grouped(who);
  const searched = [title, group, who.name, who.called, who.image, who.container, label(who, ...SERVICES), ...labels];
  const nothing = Object.fromEntries(FIGURES.map((key) => [key, null])) as Figures;
  const kept = before ?? { ...nothing, trend: new Array<number | null>(POINTS).fill(null), hasTrend: false, restartsSeen: [] };
  return {
    ...kept,
    // Keys that are gone must not live on from before.
    runtime: undefined,
    container: undefined,
    called: undefined,
    image: undefined,
    labels: undefined,
    pod: undefined,
    health: undefined,
    created: undefined,
    started: undefined,
    cpu_limit: undefined,
    memory_limit: undefined,
    task_limit: undefined,
    exit: undefined,
    ended: undefined,
    ...who,
    title,
    group: visible(group),
    groupKind,
    text: searched.filter(Boolean).join("\n").toLowerCase(),
    order: title.toLowerCase().replace(/\d{1,9}/g, (digits) => digits.padStart(9, "0")),
  };
}

export function matches(text: string, terms: string[]): boolean {
  return terms.every((term) => text.includes(term));
}

export function termsOf(search: string): string[] {
  return search.toLowerCase().split(/\s+/).filter(Boolean);
}

export function isWithin(name: string, ancestor: string): boolean {
  return name !== ancestor && (ancestor === "/" || name.startsWith(`${ancestor}/`));
}

export function memoryShare(row: Row): number | null {
  return row.memory == null || !row.memory_limit ? null : (row.memory * 1024) / row.memory_limit;
}

/** The resource that something waits for the most, in percent of the last ten seconds. */
export function pressure(row: Row): { of: string; share: number } | null {
  const known = (
    [
      ["cpu", row.cpu_pressure],
      ["mem", row.memory_pressure],
      ["io", row.io_pressure],
    ] as const
  ).filter((one): one is [typeof one[0], number] => one[1] != null);
  if (known.length === 0) return null;
  const [of, share] = known.reduce((most, one) => (one[1] > most[1] ? one : most));
  return { of, share: share / 10 };
}

/** Where something hurts: these are the only reasons for red. */
export const MEMORY_HURTS = 0.9;
export const THROTTLING_HURTS = 25;
export const LOOPING = 3;
export const RECENT_MS = 10 * 60_000;

export interface Pain {
  kind: "oom" | "memory" | "throttled" | "looping" | "unhealthy";
  text: string;
}

/** What happened to a container lately, as its events say. */
export interface Lately {
  kills: number;
  restarts: number;
}

export function pains(row: Row, lately: Lately): Pain[] {
  const found: Pain[] = [];
  if (lately.kills > 0) {
    found.push({ kind: "oom", text: lately.kills === 1 ? "OOM-killed" : `OOM-killed ${lately.kills}×` });
  }
  if (lately.restarts >= LOOPING) {
    found.push({ kind: "looping", text: `restarted ${lately.restarts}× in 10 min` });
  }
  if (row.ended != null) return found;
  const share = memoryShare(row);
  if (share != null && share > MEMORY_HURTS) {
    found.push({ kind: "memory", text: `memory ${Math.floor(share * 100)} % of ${bytes(row.memory_limit)}` });
  }
  if (row.throttled != null && row.throttled > THROTTLING_HURTS) {
    found.push({ kind: "throttled", text: `throttled ${row.throttled} %` });
  }
  if (row.health === "unhealthy") found.push({ kind: "unhealthy", text: "unhealthy" });
  return found;
}

/** How its first process ended, with the limit where that was why. */
export function ending(row: Row): string | null {
  if (!row.exit) return null;
  const limit = row.exit === "OOM-killed at its limit" && row.memory_limit ? ` of ${bytes(row.memory_limit)}` : "";
  return `${visible(row.exit)}${limit}`;
}

/** Whether how it ended says the same as that it was OOM-killed. */
export const endedByOom = (row: Row) => row.ended != null && row.exit?.startsWith("OOM-killed") === true;

/** How long it has run, from its last start. */
export function uptime(row: Row, now: number): string {
  const since = row.started ?? row.created;
  if (row.ended != null || since == null) return "–";
  const text = span(now - since);
  return text.split(" ")[0];
}

/** The group and the name by which restarts of one and the same thing are recognised. */
export function lifeKey(row: Row): string {
  return row.groupKind === "pod" ? `${row.group}\n${row.title}` : row.name;
}
