// One container's samples as the JSON API has them, and what the charts make of them.

import { type KilledOrNot, eventsOf } from "./events";
import { ask, encodeName } from "./http";

interface Psi {
  some?: { avg10: number };
}

interface ApiSample {
  timestamp: string;
  cpu?: { usage: { total: number; user: number; system: number }; cfs: { periods: number; throttled_periods: number }; psi?: Psi };
  memory?: { usage: number; working_set: number; rss: number; cache: number; swap?: number; max_usage?: number; psi?: Psi };
  network?: { interfaces?: { rx_bytes: number; tx_bytes: number }[]; rx_bytes: number; tx_bytes: number };
  diskio?: { io_service_bytes?: { stats: Record<string, number> }[]; psi?: Psi };
  filesystem?: { device: string; capacity: number; usage: number; base_usage?: number; inodes?: number }[];
}

export interface Info {
  name: string;
  spec: {
    creation_time?: string;
    start_time?: string;
    image?: string;
    labels?: Record<string, string>;
    envs?: Record<string, string>;
    has_cpu: boolean;
    cpu?: { limit?: number; quota?: number; period?: number; mask?: string };
    has_memory: boolean;
    memory?: { limit?: number; reservation?: number; swap_limit?: number };
    processes?: { limit?: number };
  };
  subcontainers?: { name: string }[];
  stats?: ApiSample[];
}

/** Values at one moment; rates are those since the sample before. `null` is not known. */
export interface Point {
  at: number;
  /** Percent of one core. */
  cpu: number | null;
  user: number | null;
  system: number | null;
  /** Percent of the periods. */
  throttled: number | null;
  rss: number | null;
  cache: number | null;
  working_set: number | null;
  usage: number | null;
  received: number | null;
  sent: number | null;
  read: number | null;
  written: number | null;
  /** Percent of the last ten seconds. */
  cpu_pressure: number | null;
  memory_pressure: number | null;
  io_pressure: number | null;
  /** Percent of one core. */
  quota: number | null;
  memory_limit: number | null;
  task_limit: number | null;
}

/** A limit that is not one: v1 says 2^63 less a page, v2 2^64 - 1. */
export function limitOf(value: number | undefined): number | null {
  return value == null || value === 0 || value > 2 ** 62 ? null : value;
}

function moved(sample: ApiSample, direction: string): number | null {
  const disks = sample.diskio?.io_service_bytes;
  if (!sample.diskio) return null;
  return (disks ?? []).reduce((sum, disk) => sum + (disk.stats[direction] ?? 0), 0);
}

function network(sample: ApiSample, key: "rx_bytes" | "tx_bytes"): number | null {
  const interfaces = sample.network?.interfaces;
  return interfaces ? interfaces.reduce((sum, one) => sum + one[key], 0) : null;
}

type Allowed = Pick<Point, "quota" | "memory_limit" | "task_limit">;

function allowed({ cpu, memory, processes }: Info["spec"]): Allowed {
  return {
    quota: cpu?.quota && cpu.period ? (cpu.quota / cpu.period) * 100 : null,
    memory_limit: limitOf(memory?.limit),
    task_limit: limitOf(processes?.limit),
  };
}

const isSame = (one: Allowed, other: Allowed) =>
  one.quota === other.quota && one.memory_limit === other.memory_limit && one.task_limit === other.task_limit;

function pointOf(before: ApiSample, after: ApiSample, limits: Allowed): Point {
  const seconds = (Date.parse(after.timestamp) - Date.parse(before.timestamp)) / 1000;
  const perSecond = (of: (sample: ApiSample) => number | null | undefined) => {
    const [from, to] = [of(before), of(after)];
    return from == null || to == null || to < from || seconds <= 0 ? null : (to - from) / seconds;
  };
  const share = (nanoseconds: number | null) => (nanoseconds == null ? null : nanoseconds / 1e7);
  const periods = perSecond((sample) => sample.cpu?.cfs.periods);
  const throttled = perSecond((sample) => sample.cpu?.cfs.throttled_periods);
  const waited = (psi: Psi | undefined) => psi?.some?.avg10 ?? null;
  return {
    at: Date.parse(after.timestamp),
    cpu: share(perSecond((sample) => sample.cpu?.usage.total)),
    user: share(perSecond((sample) => sample.cpu?.usage.user)),
    system: share(perSecond((sample) => sample.cpu?.usage.system)),
    throttled: periods && throttled != null ? (throttled / periods) * 100 : null,
    rss: after.memory?.rss ?? null,
    cache: after.memory?.cache ?? null,
    working_set: after.memory?.working_set ?? null,
    usage: after.memory?.usage ?? null,
    received: perSecond((sample) => network(sample, "rx_bytes")),
    sent: perSecond((sample) => network(sample, "tx_bytes")),
    read: perSecond((sample) => moved(sample, "Read")),
    written: perSecond((sample) => moved(sample, "Write")),
    cpu_pressure: waited(after.cpu?.psi),
    memory_pressure: waited(after.memory?.psi),
    io_pressure: waited(after.diskio?.psi),
    ...limits,
  };
}

export interface Process {
  user: string;
  pid: number;
  parent_pid: number;
  start_time: string;
  percent_cpu: number;
  percent_mem: number;
  rss: number;
  status: string;
  running_time: string;
  cmd: string;
}

/** How much is kept beyond what the collector has: a page may be open for long. */
const KEPT_MS = 15 * 60_000;

/** Follows one container while its page is open. */
export class Follower {
  info: Info | null = null;
  points: Point[] = [];
  /** When a limit changed: while the page was open, or in the span. */
  changes: number[] = [];
  /** What happened to it, also what the list of all has no room for. */
  events: KilledOrNot[] = [];
  processes: Process[] | null = null;
  trouble = "";
  /** Whether the past was asked. */
  asked = false;
  private last: ApiSample | null = null;

  constructor(readonly name: string) {}

  /** Takes in what came since; the first time all there is. */
  async refresh(signal: AbortSignal): Promise<void> {
    const body = JSON.stringify({ num_stats: this.last ? 8 : -1 });
    const answer = await ask(`api/v1.3/containers${encodeName(this.name)}`, { method: "POST", body, signal });
    const info = (await answer.json()) as Info;
    const limits = allowed(info.spec);
    for (const sample of info.stats ?? []) {
      if (this.last && Date.parse(sample.timestamp) <= Date.parse(this.last.timestamp)) continue;
      if (this.last) this.points.push(pointOf(this.last, sample, limits));
      this.last = sample;
    }
    const newest = this.points.at(-1)?.at ?? 0;
    this.points = this.points.filter((point) => point.at >= newest - KEPT_MS);
    if (this.info && !isSame(allowed(this.info.spec), limits)) this.changes.push(newest || Date.now());
    // What its files take is measured seldom, and is not in every sample.
    this.info = info;
    this.trouble = "";
  }

  /** What there is of a span of the past. */
  async refreshPast(from: number, to: number, signal: AbortSignal): Promise<void> {
    const query = new URLSearchParams({ series: this.name, from: String(from / 1000), at: String(to / 1000) });
    const answer = await ask(`api/feed?${query}`, { signal });
    const series = (await answer.json()) as Record<string, (number | null)[]> & { at: number[] };
    const scaled = (key: string, at: number, by: number) => {
      const value = series[key]?.[at];
      return value == null ? null : value * by;
    };
    this.points = series.at.map((at, place) => ({
      at,
      cpu: scaled("cpu", place, 0.1),
      user: null,
      system: null,
      throttled: scaled("throttled", place, 1),
      rss: scaled("rss", place, 1024),
      cache: scaled("cache", place, 1024),
      working_set: scaled("memory", place, 1024),
      usage: null,
      received: scaled("received", place, 1),
      sent: scaled("sent", place, 1),
      read: scaled("read", place, 1),
      written: scaled("written", place, 1),
      cpu_pressure: scaled("cpu_pressure", place, 0.1),
      memory_pressure: scaled("memory_pressure", place, 0.1),
      io_pressure: scaled("io_pressure", place, 0.1),
      quota: scaled("cpu_limit", place, 0.1),
      memory_limit: scaled("memory_limit", place, 1),
      task_limit: scaled("task_limit", place, 1),
    }));
    this.changes = this.points.flatMap((point, place) => (place > 0 && !isSame(this.points[place - 1], point) ? [point.at] : []));
    this.asked = true;
    this.trouble = "";
  }

  /** What happened to it: of late, or in a span. */
  async refreshEvents(span: [from: number, to: number] | null, signal: AbortSignal): Promise<void> {
    this.events = await eventsOf(this.name, span, signal);
  }

  async refreshProcesses(signal: AbortSignal): Promise<void> {
    const answer = await ask(`api/v2.1/ps${encodeName(this.name)}`, { signal });
    const list = (await answer.json()) as Process[] | null;
    this.processes = (list ?? []).sort((one, other) => other.percent_cpu - one.percent_cpu || other.rss - one.rss);
  }

  /** The file systems that its files are on, as last measured. */
  get files() {
    return this.last?.filesystem ?? [];
  }
}
