// The list: as many rows as are seen, whatever their number.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { type Arranged, type Group, type Item, type Line, SORTS, restarts } from "./arrange";
import { type Pain, type Row, THROTTLING_HURTS, endedByOom, ending, pains, pressure, uptime } from "./model";
import { UNKNOWN, bytes, count, cpu, percent, rateShort, span } from "./format";
import { Bar, Pains, Spark, limitText, memoryHurts } from "./parts";
import { fetchTrends, latelyOf, state } from "./store";
import { type Shown, type View, chosen, follow, go, linkTo, ui } from "./ui";

interface Column {
  key: string;
  /** What it is called when there is little room. */
  head: string;
  title: string;
}

const COLUMNS: Column[] = [
  { key: "name", head: "Name", title: "Name, and what it was made of" },
  { key: "cpu", head: "CPU", title: "Of one core, now and in the last two minutes; beside it its quota" },
  { key: "throttled", head: "Throttled", title: "Periods of its quota in which it was stopped" },
  { key: "memory", head: "Memory", title: "Working set, and its limit" },
  { key: "pressure", head: "Pressure", title: "The most that anything in it waited for a resource, over ten seconds" },
  { key: "received", head: "Net in", title: "Received per second" },
  { key: "sent", head: "Net out", title: "Sent per second" },
  { key: "read", head: "Read", title: "Read from disks per second" },
  { key: "written", head: "Write", title: "Written to disks per second" },
  { key: "tasks", head: "Tasks", title: "Processes and threads" },
  { key: "up", head: "Up", title: "Since its last start" },
  { key: "restarts", head: "Restarts", title: "As its runtime counts them, or seen in ten minutes" },
  { key: "oom", head: "OOM", title: "Processes killed for want of memory" },
];

/** Names sort from A, everything else from the most. */
function sortBy(key: string): void {
  const descending = ui.sort === key ? !ui.descending : key !== "name" && key !== "up";
  chosen({ sort: key, descending });
}

function Head() {
  return (
    <thead role="rowgroup">
      <tr role="row" aria-rowindex={1}>
        {COLUMNS.map(({ key, head, title }) => (
          <th
            key={key}
            role="columnheader"
            scope="col"
            class={key}
            aria-sort={ui.sort === key ? (ui.descending ? "descending" : "ascending") : "none"}
          >
            <button type="button" title={title} onClick={() => sortBy(key)}>
              {head}
              <span class="arrow" aria-hidden="true">
                {ui.sort === key ? (ui.descending ? "▾" : "▴") : ""}
              </span>
            </button>
          </th>
        ))}
      </tr>
    </thead>
  );
}

const quiet = (text: string) => (text === UNKNOWN || text === "0" ? "quiet" : "");

function Cell({ of, class: name = "", children }: { of: string; class?: string; children: preact.ComponentChildren }) {
  const column = COLUMNS.find(({ key }) => key === of);
  return (
    <td role="cell" class={`${of} ${name}`} data-head={column?.head}>
      {children}
    </td>
  );
}

import type * as preact from "preact";

function RowLine({ line, index, at }: { line: Line; index: number; at: boolean }) {
  const { row, depth, folded } = line;
  const found = pains(row, latelyOf(row));
  const ended = row.ended != null;
  const times = restarts(row);
  return (
    <tr
      role="row"
      aria-rowindex={index}
      class={`line ${ended ? "ended" : ""} ${found.length > 0 ? "pained" : ""} ${at ? "at" : ""}`}
      onClick={(event) => {
        if (!(event.target as Element).closest("a, button") && !getSelection()?.toString()) go(linkTo(row.name));
      }}
    >
      <td
        role="rowheader"
        class={`name depth${Math.min(depth, 9)}`}
        colSpan={ended ? COLUMNS.length - 2 : undefined}
        aria-colspan={ended ? COLUMNS.length - 2 : undefined}
      >
        {folded == null ? null : (
          <button
            type="button"
            class="fold"
            aria-expanded={!folded}
            aria-label={`${row.title}: what is below it`}
            tabIndex={-1}
            onClick={() => fold(`t${row.name}`)}
          >
            {folded ? "▸" : "▾"}
          </button>
        )}
        <a href={linkTo(row.name)} data-key={line.key} tabIndex={at ? 0 : -1} onClick={follow} title={`${row.title}\n${row.name}`}>
          {row.title}
        </a>{" "}
        <Pains pains={found.filter((pain) => pain.kind === "looping" || pain.kind === "unhealthy" || (ended && pain.kind === "oom" && !endedByOom(row)))} />
        {ended ? <Ending row={row} found={found} /> : <span class="image">{row.image}</span>}
      </td>
      {ended ? null : <Used row={row} />}
      <Cell of="restarts" class={times === 0 ? "quiet" : ""}>
        {times}
      </Cell>
      <Cell of="oom" class={row.oom_kills ? "hurts" : "quiet"}>
        {count(row.oom_kills)}
      </Cell>
    </tr>
  );
}

/** How it ended, when, and what it had used: of one that is gone there is nothing else. */
function Ending({ row, found }: { row: Row; found: Pain[] }) {
  const hurts = endedByOom(row) && found.some(({ kind }) => kind === "oom");
  const began = row.started ?? row.created;
  const ended = row.ended ?? 0;
  const rest = [
    `ended ${span(state.now - ended)} ago`,
    began != null && began < ended ? `ran ${span(ended - began)}` : "",
    row.peak == null ? "" : `peak ${bytes(row.peak * 1024)}`,
  ];
  return (
    <span class="image">
      {row.exit ? <span class={hurts ? "badge oom" : "how"}>{ending(row)}</span> : null} {rest.filter(Boolean).join(" · ")}
    </span>
  );
}

function Used({ row }: { row: Row }) {
  const waits = pressure(row);
  const { throttled } = row;
  const numbers = {
    received: rateShort(row.received),
    sent: rateShort(row.sent),
    read: rateShort(row.read),
    written: rateShort(row.written),
    tasks: count(row.tasks),
  };
  return (
    <>
      <Cell of="cpu">
        <Spark values={row.trend} />
        <span class="number">{cpu(row.cpu)}</span>
        <span class="of">{row.cpu_limit ? `/ ${(row.cpu_limit / 10).toFixed(0)}` : ""}</span>
      </Cell>
      <Cell of="throttled" class={throttled == null ? "quiet" : throttled > THROTTLING_HURTS ? "hurts" : ""}>
        {percent(throttled)}
      </Cell>
      <Cell of="memory" class={memoryHurts(row) ? "hurts" : ""}>
        <Bar share={row.memory != null && row.memory_limit ? (row.memory * 1024) / row.memory_limit : null} hurts={memoryHurts(row)} />
        <span class="number">{bytes(row.memory == null ? null : row.memory * 1024)}</span>
        <span class="of">{limitText(row)}</span>
      </Cell>
      <Cell of="pressure" class={waits && waits.share >= 0.1 ? "" : "quiet"}>
        {waits == null ? UNKNOWN : waits.share < 0.1 ? "0" : `${waits.share.toFixed(waits.share < 10 ? 1 : 0)} % ${waits.of}`}
      </Cell>
      {(["received", "sent", "read", "written", "tasks"] as const).map((key) => (
        <Cell key={key} of={key} class={quiet(numbers[key])}>
          {numbers[key]}
        </Cell>
      ))}
      <Cell of="up" class="quiet">
        {uptime(row, state.now)}
      </Cell>
    </>
  );
}

const KINDS = { project: "compose", pod: "pod", slice: "systemd", runtime: "runtime", cgroup: "cgroup" };

function fold(key: string): void {
  const folded = new Set(ui.folded);
  if (!folded.delete(key)) folded.add(key);
  chosen({ folded });
}

function GroupLine({ group, index, at }: { group: Group; index: number; at: boolean }) {
  return (
    <tr role="row" aria-rowindex={index} class={`group ${at ? "at" : ""}`}>
      <th role="rowheader" scope="row" class="name">
        <button
          type="button"
          data-key={group.key}
          aria-expanded={!group.folded}
          tabIndex={at ? 0 : -1}
          onClick={() => fold(group.key)}
        >
          <span class="fold" aria-hidden="true">
            {group.folded ? "▸" : "▾"}
          </span>
          {group.title}
        </button>
        <span class="kind">{KINDS[group.of]}</span>
        <span class="of">{count(group.rows.length)}</span>
        {group.hurting > 0 ? <span class="badge oom">{group.hurting} hurting</span> : null}
      </th>
      <Cell of="cpu">
        <span class="number">{cpu(group.cpu)}</span>
        <span class="of" />
      </Cell>
      <Cell of="throttled"> </Cell>
      <Cell of="memory">
        <span class="number">{bytes(group.memory == null ? null : group.memory * 1024)}</span>
        <span class="of" />
      </Cell>
      <td role="cell" colSpan={9} class="rest" />
    </tr>
  );
}

/** Heights as the style sheet has them. */
const HEIGHTS = { line: 30, group: 32, card: 82 };

export function heightOf(item: Item, cards: boolean): number {
  if (item.kind === "group") return HEIGHTS.group;
  return cards ? HEIGHTS.card : HEIGHTS.line;
}

const CARDS = matchMedia("(max-width: 719px)");

export function List({ arranged, hold }: { arranged: Arranged; hold: (held: boolean) => void }) {
  const scroller = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(800);
  const [cards, setCards] = useState(CARDS.matches);
  const { items } = arranged;

  useLayoutEffect(() => {
    const element = scroller.current!;
    const measure = () => {
      setHeight(element.clientHeight);
      setCards(CARDS.matches);
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, []);

  const offsets: number[] = [0];
  for (const item of items) offsets.push(offsets[offsets.length - 1] + heightOf(item, cards));
  const total = offsets[items.length];
  const indexAt = (y: number) => {
    let [low, high] = [0, items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (offsets[middle + 1] <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const first = Math.max(0, indexAt(top) - 6);
  const last = Math.min(items.length, indexAt(top + height) + 7);
  const shown = items.slice(first, last);
  const at = items.findIndex((item) => item.key === ui.at);
  const entry = at >= 0 ? ui.at : items[0]?.key;

  const rows = shown.flatMap((item) => (item.kind === "row" ? [item.row] : []));
  const missing = rows.filter((row) => !row.hasTrend && row.ended == null).length;
  useEffect(() => {
    if (missing === 0) return;
    const later = setTimeout(() => void fetchTrends(rows), 120);
    return () => clearTimeout(later);
  }, [missing, first]);

  const move = (by: number) => {
    // As it is now: the key before may not be shown yet.
    const at = items.findIndex((item) => item.key === ui.at);
    const next = Math.max(0, Math.min(items.length - 1, (at < 0 ? (by > 0 ? -1 : items.length) : at) + by));
    const item = items[next];
    if (!item) return;
    const element = scroller.current!;
    const head = element.querySelector("thead")?.clientHeight ?? 0;
    if (offsets[next] < element.scrollTop) element.scrollTop = offsets[next];
    if (offsets[next + 1] + head > element.scrollTop + element.clientHeight) {
      element.scrollTop = offsets[next + 1] + head - element.clientHeight;
    }
    setTop(element.scrollTop);
    chosen({ at: item.key });
    requestAnimationFrame(() => element.querySelector<HTMLElement>(`[data-key="${CSS.escape(item.key)}"]`)?.focus({ preventScroll: true }));
  };

  const keys = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor(height / HEIGHTS.line) - 3);
    const steps: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -items.length,
      End: items.length,
    };
    const step = steps[event.key];
    const item = items[at];
    if (step !== undefined) {
      event.preventDefault();
      move(step);
    } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && item) {
      const folded = item.folded;
      if (folded != null && folded === (event.key === "ArrowRight")) fold(item.kind === "group" ? item.key : `t${item.row.name}`);
    }
  };

  return (
    <div
      class="scroller"
      ref={scroller}
      role="region"
      aria-label="Containers"
      tabIndex={0}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      onKeyDown={keys}
      onPointerMove={() => hold(true)}
      onPointerLeave={() => hold(false)}
    >
      <table role="table" aria-label="Containers" aria-rowcount={items.length + 1} class={cards ? "cards" : ""}>
        <Head />
        <tbody role="rowgroup">
          <tr class="space" aria-hidden="true" style={{ height: `${offsets[first]}px` }} />
          {shown.map((item, number) =>
            item.kind === "group" ? (
              <GroupLine key={item.key} group={item} index={first + number + 2} at={item.key === entry} />
            ) : (
              <RowLine key={item.key} line={item} index={first + number + 2} at={item.key === entry} />
            ),
          )}
          <tr class="space" aria-hidden="true" style={{ height: `${total - offsets[last]}px` }} />
        </tbody>
      </table>
      {items.length === 0 && state.node ? <p class="nothing">{nothing()}</p> : null}
    </div>
  );
}

function nothing(): string {
  if (ui.search) return `Nothing matches “${ui.search}”: names, pods, namespaces, images, labels and ids were searched.`;
  if (ui.shown === "hurting") return "Nothing hurts.";
  if (ui.shown === "ended") return "No container has ended within the retention time (--ended_container_retention).";
  return "There are no containers.";
}

function Choice<T extends string>({ name, of, is, choose }: { name: string; of: [T, string][]; is: T; choose: (to: T) => void }) {
  return (
    <fieldset class="choice">
      <legend>{name}</legend>
      {of.map(([key, text]) => (
        <button key={key} type="button" aria-pressed={is === key} onClick={() => choose(key)}>
          {text}
        </button>
      ))}
    </fieldset>
  );
}

export function Toolbar({ arranged }: { arranged: Arranged }) {
  const { found, all, hurting, ended } = arranged;
  const bare = arranged.bare > 0 ? "containers and cgroups" : "containers";
  const total = ui.view === "tree" ? "cgroups" : bare;
  return (
    <div class="toolbar" role="search">
      <input
        id="search"
        type="search"
        placeholder="Search name, pod, image, label, id   /"
        aria-label="Search by name, pod, namespace, image, label or id"
        aria-keyshortcuts="/"
        autocomplete="off"
        spellcheck={false}
        value={ui.search}
        onInput={(event) => chosen({ search: event.currentTarget.value, at: null })}
      />
      <Choice<View>
        name="Arrange"
        of={[
          ["groups", "Grouped"],
          ["flat", "Flat"],
          ["tree", "cgroup tree"],
        ]}
        is={ui.view}
        choose={(view) => chosen({ view, at: null })}
      />
      <Choice<Shown>
        name="Show"
        of={[
          ["all", "All"],
          ["hurting", `Hurting ${hurting.length}`],
          ["ended", `Ended ${ended}`],
        ]}
        is={ui.shown}
        choose={(shown) => chosen({ shown, at: null })}
      />
      <label class="sort">
        <span>Sort</span>
        <select value={ui.sort} onChange={(event) => chosen({ sort: event.currentTarget.value, descending: event.currentTarget.value !== "name" })}>
          {COLUMNS.filter(({ key }) => key in SORTS).map(({ key, head }) => (
            <option key={key} value={key}>
              {head}
            </option>
          ))}
        </select>
      </label>
      <span class="found" role="status">
        {state.node ? (found === all ? `${count(all)} ${total}` : `${count(found)} of ${count(all)} ${total}`) : "Loading…"}
      </span>
    </div>
  );
}
