// Events as sentences.

import { useMemo } from "preact/hooks";
import type { KilledOrNot } from "./events";
import { RECENT_MS, matches, shortened, termsOf } from "./model";
import { bytes, clock, ordinal, span, visible } from "./format";
import { ContainerLink } from "./parts";
import { rowNamed, state } from "./store";

const SHOWN = 200;

function called(name: string): string {
  return rowNamed(name)?.title ?? visible(shortened(name === "/" ? "/" : name.slice(name.lastIndexOf("/") + 1)));
}

/** What happened, after whom it happened to. */
function said(event: KilledOrNot, nth: number): string {
  switch (event.kind) {
    case "start":
      return "started";
    case "end": {
      const used = [
        event.exit ? visible(event.exit) : "",
        event.cpu == null ? "" : `used ${event.cpu < 1000 ? `${event.cpu.toFixed(0)} ms` : span(event.cpu)} of CPU`,
        event.peak == null ? "" : `peak ${bytes(event.peak)}`,
      ].filter(Boolean);
      return used.length > 0 ? `ended, ${used.join(", ")}` : "ended";
    }
    case "kill": {
      const process = event.process ? visible(event.process) : "a process";
      const limit = event.limit ? rowNamed(event.limit)?.memory_limit : undefined;
      const whose = event.limit && event.limit !== event.name ? `the limit of ${called(event.limit)}` : "its limit";
      const where = event.limit == null ? "killed for want of memory" : `killed at ${whose}${limit ? ` of ${bytes(limit)}` : ""}`;
      return `${process} ${where}${nth > 1 ? `, ${ordinal(nth)} in 10 minutes` : ""}`;
    }
  }
}

/** How many kills of the ten minutes before there were of the same container, each of them with its number. */
function numbered(events: KilledOrNot[]): Map<string, number> {
  const times = new Map<string, number[]>();
  const numbers = new Map<string, number>();
  for (const event of [...events].reverse()) {
    if (event.kind !== "kill") continue;
    const known = (times.get(event.name) ?? []).filter((at) => at > event.at - RECENT_MS);
    known.push(event.at);
    times.set(event.name, known);
    numbers.set(event.key, known.length);
  }
  return numbers;
}

/** So many of the same kind in the same place at one time are one line. */
const BURST = 4;
const BURST_MS = 2000;

interface Burst {
  event: KilledOrNot;
  others: number;
}

/** Bare cgroups that come or go together share a line. */
function inBursts(events: KilledOrNot[]): Burst[] {
  const parent = (event: KilledOrNot) => event.name.slice(0, event.name.lastIndexOf("/"));
  const bursts: Burst[] = [];
  for (let at = 0; at < events.length; ) {
    const event = events[at];
    let end = at + 1;
    const belongs = (other: KilledOrNot) =>
      other.kind === event.kind &&
      parent(other) === parent(event) &&
      events[end - 1].at - other.at < BURST_MS &&
      rowNamed(other.name)?.container == null;
    if (event.kind !== "kill" && rowNamed(event.name)?.container == null) {
      while (end < events.length && belongs(events[end])) end += 1;
    }
    if (end - at < BURST) end = at + 1;
    bursts.push({ event, others: end - at - 1 });
    at = end;
  }
  return bursts;
}

export function EventLines({ events }: { events: KilledOrNot[] }) {
  const numbers = numbered(state.events);
  return (
    <ol class="events">
      {inBursts(events).slice(0, SHOWN).map(({ event, others }) => (
        <li key={event.key} class={event.kind}>
          <time dateTime={new Date(event.at).toISOString()}>{clock(event.at)}</time>
          <span class="mark" aria-hidden="true">
            {event.kind === "kill" ? "OOM" : event.kind === "start" ? "+" : "−"}
          </span>
          <span class="what">
            <ContainerLink name={event.name}>{called(event.name)}</ContainerLink>
            {event.kind === "kill" ? ": " : " "}
            {others > 0 ? `and ${others} others ${event.kind === "start" ? "started" : "ended"}` : said(event, numbers.get(event.key) ?? 0)}
          </span>
          <span class="whose">{rowNamed(event.name)?.group ?? ""}</span>
        </li>
      ))}
    </ol>
  );
}

/** Those that fit the search, as the list does. */
export function matching(search: string): KilledOrNot[] {
  const terms = termsOf(search);
  if (terms.length === 0) return state.events;
  return state.events.filter((event) => {
    const row = rowNamed(event.name);
    return matches(`${row?.text ?? ""}\n${event.name.toLowerCase()}\n${event.process?.toLowerCase() ?? ""}`, terms);
  });
}

export function Events({ search }: { search: string }) {
  const events = matching(search);
  // Two hundred lines, in which most ticks change nothing.
  const lines = useMemo(() => <EventLines events={events} />, [state.edition, search]);
  return (
    <section class="dock" aria-label="Events">
      <h2>
        Events{" "}
        <span class="quiet" role="status">
          {state.eventsAre}
          {search && events.length !== state.events.length ? ` · ${events.length} of ${state.events.length} match the search` : ""}
        </span>
      </h2>
      {/* A region that scrolls must be reachable by keyboard. */}
      <div class="lines" role="region" tabIndex={0} aria-label="Events, the newest first">
        {lines}
        {events.length === 0 ? <p class="nothing">No events yet.</p> : null}
      </div>
    </section>
  );
}
