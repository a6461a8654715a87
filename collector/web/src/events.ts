// Events: those of the past first, then as they happen. An OOM kill is two events of the API and one line here.

import { ask, encodeName } from "./http";

const RECONNECT_MS = 2000;
const KEPT = 500;
/** Of the past, each kind. */
const PAST = 200;

interface ApiEvent {
  container_name: string;
  timestamp: string;
  event_type: string;
  event_data: {
    oom?: {
      pid?: number;
      process_name?: string;
      victim_container_name?: string;
      limit_container_name?: string;
      trigger_process_name?: string;
      anon_rss_bytes?: number;
    };
    exit?: { text: string };
    deletion?: {
      final_stats?: { cpu?: { usage: { total: number } }; memory?: { max_usage?: number }; oom_events?: number };
    };
  };
  error?: string;
}

export interface KilledOrNot {
  key: string;
  at: number;
  name: string;
  kind: "start" | "end" | "kill";
  process?: string;
  /** The cgroup whose limit was hit. */
  limit?: string;
  /** How its first process ended, in words. */
  exit?: string;
  /** Milliseconds of CPU time. */
  cpu?: number;
  peak?: number;
}

function read(event: ApiEvent): KilledOrNot | null {
  const at = Date.parse(event.timestamp);
  const key = (kind: string, name: string) => `${event.timestamp} ${kind} ${name}`;
  switch (event.event_type) {
    case "containerCreation":
      return { key: key("start", event.container_name), at, name: event.container_name, kind: "start" };
    case "containerDeletion": {
      const last = event.event_data.deletion?.final_stats;
      return {
        key: key("end", event.container_name),
        at,
        name: event.container_name,
        kind: "end",
        exit: event.event_data.exit?.text,
        cpu: last?.cpu ? last.cpu.usage.total / 1e6 : undefined,
        peak: last?.memory?.max_usage || undefined,
      };
    }
    case "oom":
    case "oomKill": {
      // The first is named after the victim, the second after whose limit was hit.
      const oom = event.event_data.oom;
      const name = oom?.victim_container_name ?? event.container_name;
      return {
        key: key("kill", `${oom?.pid ?? ""} ${name}`),
        at,
        name,
        kind: "kill",
        process: oom?.process_name || undefined,
        limit: oom?.limit_container_name,
      };
    }
    default:
      return null;
  }
}

/** Adds what is new; whether anything was. */
export function addEvents(list: KilledOrNot[], events: KilledOrNot[]): boolean {
  const known = new Set(list.map((event) => event.key));
  const fresh = events.filter((event) => !known.has(event.key) && known.add(event.key));
  if (fresh.length === 0) return false;
  list.push(...fresh);
  list.sort((one, other) => other.at - one.at);
  // Kills stay longer than what happens all the time.
  if (list.length > KEPT) {
    const kills = list.filter((event) => event.kind === "kill").slice(0, KEPT / 2);
    const others = list.filter((event) => event.kind !== "kill").slice(0, KEPT - kills.length);
    list.splice(0, list.length, ...[...kills, ...others].sort((one, other) => other.at - one.at));
  }
  return true;
}

type Listener = (events: KilledOrNot[], are: string) => void;

let running: AbortController | undefined;

/** Follows events from now on, or no longer. */
export function follow(listener: Listener | null): void {
  running?.abort();
  if (!listener) return;
  running = new AbortController();
  void run(listener, running.signal);
}

const present = (events: (KilledOrNot | null)[]) => events.filter((event) => event !== null);

const inSpan = (from: number, to: number) => `&start_time=${new Date(from).toISOString()}&end_time=${new Date(to).toISOString()}`;

/** The last events of one container, or those of a span: among those of all they may have been pushed out. */
export async function eventsOf(name: string, span: [from: number, to: number] | null, signal: AbortSignal): Promise<KilledOrNot[]> {
  // The API counts before it looks at names: of a number of them other containers' events would take the places.
  const query = `all_events=true&max_events=-1${span ? inSpan(...span) : ""}`;
  const answer = await ask(`api/v1.3/events${encodeName(name)}?${query}`, { signal });
  return present(((await answer.json()) as ApiEvent[]).slice(-KEPT).map(read));
}

/** The newest events of all containers; kills are asked for apart, so that no storm of others pushes them out. */
async function everybodys(span: string, most: number, signal: AbortSignal): Promise<KilledOrNot[]> {
  const list = async (kinds: string) => {
    const answer = await ask(`api/v1.3/events/?${kinds}&subcontainers=true&max_events=${most}${span}`, { signal });
    return present(((await answer.json()) as ApiEvent[]).map(read));
  };
  const [all, kills] = await Promise.all([list("all_events=true"), list("oom_events=true")]);
  const known = new Set(all.map((event) => event.key));
  return [...all, ...kills.filter((event) => !known.has(event.key))];
}

export function eventsBetween(from: number, to: number, signal: AbortSignal): Promise<KilledOrNot[]> {
  return everybodys(inSpan(from, to), KEPT, signal);
}

async function run(listener: Listener, signal: AbortSignal): Promise<void> {
  const pause = () => new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  while (!signal.aborted) {
    try {
      const connecting = ask("api/v1.3/events/?stream=true&all_events=true&subcontainers=true", { signal });
      const past = async (are: string) => listener(await everybodys("", PAST, signal), are);
      await Promise.all([past("connecting"), connecting]);
      const stream = await connecting;
      // Once more, for what happened before the stream began.
      await past("live");
      const reader = stream.body!.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Error("the stream ended");
        const lines = (rest + value).split("\n");
        rest = lines.pop() ?? "";
        // Of a burst only what is shown is read; an error is always the last line.
        const events = lines.slice(-KEPT).map((line) => JSON.parse(line) as ApiEvent);
        const trouble = events.at(-1)?.error;
        if (trouble) throw new Error(trouble);
        if (events.length > 0) listener(present(events.map(read)), "live");
      }
    } catch (error) {
      if (signal.aborted) return;
      listener([], `reconnecting: ${error instanceof Error ? error.message : error}`);
    }
    await pause();
  }
}
