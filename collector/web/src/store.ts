// Everything the page knows, brought up to date by the feed and by the stream of events.

import { Unauthorised, ask } from "./http";
import { type KilledOrNot, addEvents, eventsBetween, follow } from "./events";
import {
  FIGURES,
  type Figure,
  type Lately,
  POINTS,
  RECENT_MS,
  type Row,
  TICK_MS,
  type Who,
  described,
  isWithin,
  lifeKey,
} from "./model";
import { type Span, onLook, ui } from "./ui";

export interface Node {
  host: string;
  kernel: string;
  version: string;
  cpus: number;
  memory: number | null;
  events: string;
  hierarchies: string;
  degraded: string[];
  disks: { device: string; mount: string; capacity: number; usage: number }[];
  /** Since when one can look back, in milliseconds since 1970. */
  history_from?: number;
}

type Columns = { id: number[] } & Record<Figure, (number | null)[]>;

interface Tick {
  cursor: string;
  full: boolean;
  at: number;
  node: Node;
  gone: number[];
  who: Who[];
  now: Columns[];
}

interface Trend {
  id: number;
  cpu: (number | null)[];
  at: number[];
}

export type Connection = "loading" | "live" | "past" | "paused" | "unauthorised" | "failed";

export const state = {
  rows: new Map<number, Row>(),
  /** Rises with everything but figures: when a row comes, goes or is described anew, and when there are events. */
  edition: 0,
  node: null as Node | null,
  /** Milliseconds since 1970 by the collector's clock. */
  now: 0,
  connection: "loading" as Connection,
  trouble: "",
  /** The newest first. */
  events: [] as KilledOrNot[],
  eventsAre: "connecting",
  /** What happened lately, by `lifeKey`. */
  lately: new Map<string, Lately>(),
};

const NOTHING: Lately = { kills: 0, restarts: 0 };
let cursor = "";
let changed: () => void = () => {};
let byName = new Map<string, Row>();

export function onChange(listener: () => void): void {
  changed = listener;
}

export function latelyOf(row: Row): Lately {
  return state.lately.get(lifeKey(row)) ?? NOTHING;
}

/** The container of this cgroup; of several lives the newest. */
export function rowNamed(name: string): Row | undefined {
  return byName.get(name);
}

/** The container that a runtime knows by this name or id. */
export function rowCalled(runtime: string, called: string): Row | undefined {
  const known = [...state.rows.values()].filter((row) => row.runtime === runtime).reverse();
  const alive = [...known.filter((row) => row.ended == null), ...known.filter((row) => row.ended != null)];
  return (
    alive.find((row) => row.called === called) ??
    alive.find((row) => row.container != null && called.length >= 6 && row.container.startsWith(called))
  );
}

export function childrenOf(name: string): Row[] {
  const below = [...state.rows.values()].filter((row) => row.ended == null && isWithin(row.name, name));
  return below.filter((row) => !row.name.slice(name === "/" ? 1 : name.length + 1).includes("/"));
}

function take(tick: Tick): void {
  if (tick.full) state.rows = new Map();
  for (const id of tick.gone) state.rows.delete(id);
  for (const who of tick.who) {
    const row = described(who, state.rows.get(who.id));
    const restarts = Number(who.labels?.restartcount ?? 0) || 0;
    // Of one that was made within ten minutes every restart was, too.
    if (row.restartsSeen.length === 0) row.restartsSeen = [[who.created ?? 0, 0]];
    row.restartsSeen.push([tick.at, restarts]);
    state.rows.set(who.id, row);
  }
  for (const columns of tick.now) {
    columns.id.forEach((id, at) => {
      const row = state.rows.get(id);
      if (row) for (const key of FIGURES) row[key] = columns[key][at];
    });
  }
  for (const row of state.rows.values()) {
    row.trend.push(row.ended == null ? row.cpu : null);
    if (row.trend.length > POINTS) row.trend.shift();
  }
  if (tick.full || tick.who.length > 0 || tick.gone.length > 0) {
    state.edition += 1;
    byName = new Map();
    for (const row of state.rows.values()) {
      const other = byName.get(row.name);
      if (!other || other.ended != null) byName.set(row.name, row);
    }
  }
  state.node = tick.node;
  state.now = tick.at;
  cursor = tick.cursor;
  countLately();
}

/** Counts kills and restarts of the last ten minutes. */
export function countLately(): void {
  const since = (state.now || Date.now()) - RECENT_MS;
  const starts = new Map<string, Set<number>>();
  const kills = new Map<string, number>();
  const keyOf = (name: string) => {
    const row = byName.get(name);
    return row ? lifeKey(row) : name;
  };
  const start = (key: string, at: number) => {
    const known = starts.get(key);
    if (known) known.add(Math.round(at / 100));
    else starts.set(key, new Set([Math.round(at / 100)]));
  };
  for (const event of state.events) {
    if (event.at < since) continue;
    const key = keyOf(event.name);
    if (event.kind === "kill") kills.set(key, (kills.get(key) ?? 0) + 1);
    if (event.kind === "start") start(key, event.at);
  }
  // Lives under other names, such as those of a pod's container, of which there may be no event any more.
  const lives = new Map<string, number>();
  for (const row of state.rows.values()) {
    if (row.created != null && row.created >= since) {
      const key = lifeKey(row);
      lives.set(key, (lives.get(key) ?? 0) + 1);
    }
  }
  const counted = new Map<string, number>();
  for (const row of state.rows.values()) {
    const within = row.restartsSeen.filter(([at]) => at >= since);
    if (within.length < 2) continue;
    const key = lifeKey(row);
    counted.set(key, Math.max(counted.get(key) ?? 0, within[within.length - 1][1] - within[0][1]));
  }
  state.lately = new Map();
  for (const key of new Set([...starts.keys(), ...kills.keys(), ...lives.keys(), ...counted.keys()])) {
    const begun = Math.max(starts.get(key)?.size ?? 0, lives.get(key) ?? 0) - 1;
    state.lately.set(key, { kills: kills.get(key) ?? 0, restarts: Math.max(0, begun, counted.get(key) ?? 0) });
  }
}

/** Has the sparklines of these rows begin before the page was opened. */
export async function fetchTrends(rows: Row[]): Promise<void> {
  const wanted = rows.filter((row) => !row.hasTrend && row.ended == null).slice(0, 150);
  if (wanted.length === 0 || document.hidden) return;
  for (const row of wanted) row.hasTrend = true;
  try {
    const then = ui.past ? `&at=${ui.past.to / 1000}` : "";
    const answer = await ask(`api/feed?trends=${wanted.map((row) => row.id).join(",")}${then}`);
    const { trends } = (await answer.json()) as { trends: Trend[] };
    for (const { id, cpu, at } of trends) {
      const row = state.rows.get(id);
      if (row) row.trend = spread(cpu, at, row.trend);
    }
    changed();
  } catch {
    // The line then begins now; the next tick says what is wrong.
  }
}

/** Samples at their times as points of the ticks before now; what the page saw itself stays. */
function spread(values: (number | null)[], at: number[], seen: (number | null)[]): (number | null)[] {
  const points = new Array<number | null>(POINTS).fill(null);
  values.forEach((value, index) => {
    const back = Math.floor((state.now - at[index]) / TICK_MS);
    if (back >= 0 && back < POINTS) points[POINTS - 1 - back] = value;
  });
  // A sample of a container that idles is seldom: it holds until the next.
  let last: number | null = null;
  return points.map((value, index) => {
    last = value ?? last;
    return seen[index - (POINTS - seen.length)] ?? last;
  });
}

/** A disk may be slow. */
const RETRY_MS = 5000;
let timer: ReturnType<typeof setTimeout> | undefined;
/** When the last answer came. */
let answered = 0;
let asking: AbortController | undefined;

async function tick(): Promise<void> {
  clearTimeout(timer);
  timer = undefined;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  try {
    const answer = await ask(`api/feed?since=${cursor}`, { signal });
    const text = await answer.text();
    const began = performance.now();
    take(JSON.parse(text) as Tick);
    performance.measure("take", { start: began });
    state.connection = "live";
    state.trouble = "";
    answered = performance.now();
    changed();
  } catch (error) {
    if (signal.aborted) return;
    state.connection = error instanceof Unauthorised ? "unauthorised" : "failed";
    state.trouble = error instanceof Error ? error.message : String(error);
    changed();
  }
  if (!signal.aborted && !document.hidden) timer = setTimeout(tick, TICK_MS);
}

/** Asks for everything as it was then. */
async function askPast({ from, to }: Span): Promise<void> {
  clearTimeout(timer);
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  follow(null);
  try {
    const [rows, events] = await Promise.all([ask(`api/feed?at=${to / 1000}`, { signal }), eventsBetween(from, to, signal)]);
    take((await rows.json()) as Tick);
    addEvents(state.events, events);
    state.edition += 1;
    state.eventsAre = "of the span";
    countLately();
    state.connection = "past";
    state.trouble = "";
  } catch (error) {
    if (signal.aborted) return;
    state.connection = error instanceof Unauthorised ? "unauthorised" : "failed";
    state.trouble = error instanceof Error ? error.message : String(error);
    timer = setTimeout(() => ui.past && void askPast(ui.past), RETRY_MS);
  }
  changed();
}

onLook(() => {
  // Nothing of the one time belongs to the other.
  Object.assign(state, { rows: new Map(), edition: state.edition + 1, events: [], lately: new Map(), eventsAre: "connecting" });
  byName = new Map();
  cursor = "";
  begin();
});

/** Begins, or begins anew after a token was given. */
export function begin(): void {
  state.connection = "loading";
  if (ui.past) {
    void askPast(ui.past);
    return;
  }
  void tick();
  follow((events, are) => {
    state.eventsAre = are;
    pending.push(...events);
    if (pending.length > MOST_PENDING) takeEvents();
    else flushing ??= setTimeout(takeEvents, GATHER_MS);
  });
}

/** Of a burst of events the whole list is worked out a few times a second, and not once for each piece of the stream. */
const GATHER_MS = 200;
const MOST_PENDING = 1000;
/** After containers came or went the list is asked for this soon after the last answer. */
const SOON_MS = 700;
let pending: KilledOrNot[] = [];
let flushing: ReturnType<typeof setTimeout> | undefined;

function takeEvents(): void {
  clearTimeout(flushing);
  flushing = undefined;
  const events = pending;
  pending = [];
  if (addEvents(state.events, events)) {
    state.edition += 1;
    countLately();
    const isNew = (event: KilledOrNot) => event.at > state.now;
    if (state.connection === "live" && timer !== undefined && events.some(isNew)) {
      clearTimeout(timer);
      timer = setTimeout(tick, Math.max(0, answered + SOON_MS - performance.now()));
    }
  }
  changed();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    asking?.abort();
    follow(null);
    if (!ui.past) state.connection = "paused";
  } else if (!ui.past || state.connection !== "past") {
    begin();
  }
});
