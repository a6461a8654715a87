// The page of one container.

import { useEffect, useState } from "preact/hooks";
import { restarts } from "./arrange";
import { Chart, Copy, type Marker, type Series } from "./charts";
import { EventLines } from "./eventlist";
import { UNKNOWN, bytes, clock, count, cpu, percent, rate, span, visible } from "./format";
import { addEvents } from "./events";
import { type Row, endedByOom, ending, memoryShare, pains, pressure, shortened } from "./model";
import { Bar, ContainerLink, Link, Pains, memoryHurts } from "./parts";
import { Follower, type Info, limitOf } from "./samples";
import { childrenOf, latelyOf, rowCalled, rowNamed, state } from "./store";
import { listLink, look, ui } from "./ui";

const REFRESH_MS = 1000;
const PROCESSES_MS = 3000;
/** Of one that ended: how much of its life is shown, and how long after its end the history may have it. */
const LAST_MS = 10 * 60_000;
const AFTER_MS = 5_000;
const TRIES = 10;
const HOUR_MS = 3_600_000;
const MOST_PROCESSES = 200;
const MOST_CHILDREN = 100;

/** Per second over a minute, of all devices of one kind. */
const perSecond = (family: string) => (of: string) => `sum by (instance) (rate(${family}${of}[1m]))`;
const percentOf = (family: string) => (of: string) => `100 * sum by (instance) (rate(${family}${of}[1m]))`;
const gauge = (family: string) => (of: string) => `sum by (instance) (${family}${of})`;

const CPU: Series[] = [
  { key: "cpu", name: "all", colour: "--blue", fill: true, promql: percentOf("container_cpu_usage_seconds_total") },
  { key: "user", name: "user", colour: "--teal", promql: percentOf("container_cpu_user_seconds_total") },
  { key: "system", name: "system", colour: "--violet", promql: percentOf("container_cpu_system_seconds_total") },
];
const THROTTLED: Series[] = [
  {
    key: "throttled",
    name: "throttled periods",
    colour: "--amber",
    fill: true,
    promql: (of) => `${percentOf("container_cpu_cfs_throttled_periods_total")(of)} / ${perSecond("container_cpu_cfs_periods_total")(of)}`,
  },
];
const MEMORY: Series[] = [
  { key: "working_set", name: "working set", colour: "--blue", fill: true, promql: gauge("container_memory_working_set_bytes") },
  { key: "rss", name: "rss", colour: "--violet", promql: gauge("container_memory_rss") },
  { key: "cache", name: "cache", colour: "--teal", promql: gauge("container_memory_cache") },
];
const NETWORK: Series[] = [
  { key: "received", name: "received", colour: "--blue", fill: true, promql: perSecond("container_network_receive_bytes_total") },
  { key: "sent", name: "sent", colour: "--violet", promql: perSecond("container_network_transmit_bytes_total") },
];
const DISK: Series[] = [
  { key: "read", name: "read", colour: "--blue", fill: true, promql: perSecond("container_fs_reads_bytes_total") },
  { key: "written", name: "written", colour: "--violet", promql: perSecond("container_fs_writes_bytes_total") },
];
const PRESSURE: Series[] = [
  { key: "cpu_pressure", name: "cpu", colour: "--blue", promql: percentOf("container_pressure_cpu_waiting_seconds_total") },
  { key: "memory_pressure", name: "memory", colour: "--violet", promql: percentOf("container_pressure_memory_waiting_seconds_total") },
  { key: "io_pressure", name: "io", colour: "--teal", promql: percentOf("container_pressure_io_waiting_seconds_total") },
];

/** Labels as PromQL writes them. */
function selector(name: string): string {
  return `{id="${name.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n")}"}`;
}

export function Detail() {
  const { page, runtime, name: called } = ui.route;
  const row = page === "called" ? rowCalled(runtime, called) : rowNamed(called);
  const name = page === "called" ? row?.name : called;
  const [follower, setFollower] = useState<Follower | null>(null);
  const [, setVersion] = useState(0);
  const then = ui.past;

  useEffect(() => {
    if (name == null) return;
    const made = new Follower(name);
    setFollower(made);
    const abort = new AbortController();
    const shown = () => setVersion((version) => version + 1);
    // What happened is shown beside the charts: without it they are still worth looking at.
    void made.refreshEvents(then ? [then.from, then.to] : null, abort.signal).then(shown, () => {});
    if (then) {
      void made
        .refreshPast(then.from, then.to, abort.signal)
        .catch((error: unknown) => {
          made.trouble = error instanceof Error ? error.message : String(error);
        })
        .then(shown);
      return () => abort.abort();
    }
    const every = async (pause: number, once: () => Promise<void>) => {
      while (!abort.signal.aborted) {
        // Of one that is gone there is nothing to ask for; Docker starts it again under the same name.
        if (!document.hidden && rowNamed(name) != null && rowNamed(name)?.ended == null) {
          try {
            await once();
          } catch (error) {
            if (abort.signal.aborted) return;
            made.trouble = error instanceof Error ? error.message : String(error);
          }
          setVersion((version) => version + 1);
        }
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    };
    void every(REFRESH_MS, () => made.refresh(abort.signal));
    void every(PROCESSES_MS, () => made.refreshProcesses(abort.signal));
    return () => abort.abort();
  }, [name, then?.from, then?.to]);

  // The last minutes of one that is gone, from the history on disk, which has them with its next step.
  const ended = row?.ended;
  const isKept = state.node?.history_from != null;
  useEffect(() => {
    if (name == null || then || ended == null || !isKept || follower?.name !== name || follower.points.length > 0) return;
    const abort = new AbortController();
    const fetchLast = async () => {
      for (let tries = 0; tries < TRIES && follower.points.length === 0 && !abort.signal.aborted; tries += 1) {
        await follower.refreshPast(ended - LAST_MS, ended + AFTER_MS, abort.signal).catch(() => {});
        setVersion((version) => version + 1);
        if (follower.points.length === 0) await new Promise((resolve) => setTimeout(resolve, PROCESSES_MS));
      }
    };
    void fetchLast();
    return () => abort.abort();
  }, [name, ended, isKept, follower]);

  useEffect(() => {
    document.title = row ? `${row.title} · ${state.node?.host ?? ""}` : "Containers";
    return () => {
      document.title = "Containers";
    };
  }, [row?.title]);

  if (name == null || (follower?.info == null && row == null && !follower?.points.length)) {
    return (
      <main class="detail" tabIndex={-1}>
        <Back />
        <h2 class="title">{state.node == null || (then && !follower?.asked) ? "Loading…" : "There is no such container"}</h2>
        {state.node == null || then ? (
          <p>{then && follower?.asked ? `Nothing is kept of “${visible(called)}” in this span.` : ""}</p>
        ) : (
          <p>
            No container is called “{visible(called)}” now, and none was within the retention time of ended containers.{" "}
            <Link to={listLink()}>See all containers</Link>
            {isKept ? (
              <>
                , or{" "}
                <button type="button" class="link" onClick={() => look({ from: Date.now() - HOUR_MS, to: Date.now() })}>
                  look back at the last hour
                </button>
              </>
            ) : null}
            .
          </p>
        )}
        {follower?.events.length ? <EventLines events={follower.events.slice(0, 50)} /> : null}
      </main>
    );
  }
  return <Page name={name} row={row} follower={follower?.name === name ? follower : new Follower(name)} />;
}

function Back() {
  return (
    <nav aria-label="Back">
      <Link to={listLink()} class="back" aria-keyshortcuts="Escape">
        ← All containers <kbd>Esc</kbd>
      </Link>
    </nav>
  );
}

function Page({ name, row, follower }: { name: string; row: Row | undefined; follower: Follower }) {
  const { info, points } = follower;
  const spec = info?.spec;
  // The API reads limits for the request; the list's may be some seconds old.
  const memoryLimit = spec ? limitOf(spec.memory?.limit) : row?.memory_limit;
  const ofPeriod = spec?.cpu?.quota && spec.cpu.period ? (spec.cpu.quota / spec.cpu.period) * 100 : null;
  const quota = spec ? ofPeriod : row?.cpu_limit ? row.cpu_limit / 10 : null;
  const events = state.events.filter((event) => event.name === name || event.limit === name);
  addEvents(events, follower.events);
  const markers: Marker[] = [
    ...events.map(({ at, kind }) => ({ at, kind })),
    ...follower.changes.map((at) => ({ at, kind: "change" as const })),
  ];
  const ended = row?.ended ?? null;
  const of = selector(name);
  const found = row ? pains(row, latelyOf(row)) : [];
  const known = (keys: Series[]) => points.some((point) => keys.some(({ key }) => point[key] != null));
  const base = { points, markers, of };
  return (
    <main class="detail" tabIndex={-1}>
      <Back />
      <div class="title">
        <h2>{name === "/" ? "The machine" : (row?.title ?? visible(shortened(name)))}</h2>
        {row && name !== "/" ? <span class="group">{row.group}</span> : null}
        <Pains pains={row && endedByOom(row) ? found.filter(({ kind }) => kind !== "oom") : found} />
        {row?.health && row.health !== "unhealthy" ? <span class="badge fine">{row.health}</span> : null}
      </div>
      <p class="path">
        <code>{visible(name)}</code>
        <Copy text={name} what="of the cgroup" label="Copy path" />
      </p>
      {row && ended != null ? <End row={row} ended={ended} /> : null}
      {follower.trouble && row?.ended == null && state.connection === "live" ? (
        <p class="trouble" role="alert">
          {follower.trouble}
        </p>
      ) : null}
      <Tiles row={row} memoryLimit={memoryLimit} quota={quota} info={info} files={follower.files} />
      {points.length === 0 ? (
        <p class="quiet none">{nothingToDraw(ended)}</p>
      ) : null}
      <section class="charts" hidden={points.length === 0} aria-label={ui.past ? "The span" : ended == null ? "The last minutes" : "Its last minutes"}>
        <Chart
          {...base}
          title="CPU"
          series={CPU}
          limit={quota}
          limitKey="quota"
          limitName="quota"
          format={(value) => percent(value, value != null && value < 10 ? 1 : 0)}
          floor={5}
        />
        <Chart
          {...base}
          title="Memory"
          series={MEMORY}
          limit={memoryLimit}
          limitKey="memory_limit"
          format={bytes}
          binary
          floor={1 << 20}
        />
        {known(THROTTLED) ? (
          <Chart
            {...base}
            title="Throttling"
            series={THROTTLED}
            format={(value) => percent(value)}
            floor={25}
          />
        ) : null}
        {known(NETWORK) ? (
          <Chart
            {...base}
            title="Network"
            series={NETWORK}
            format={rate}
            binary
            floor={1 << 10}
          />
        ) : null}
        {known(DISK) ? (
          <Chart {...base} title="Disk" series={DISK} format={rate} binary floor={1 << 10} />
        ) : null}
        {known(PRESSURE) ? (
          <Chart
            {...base}
            title="Pressure"
            series={PRESSURE}
            format={(value) => percent(value, 1)}
            floor={5}
          />
        ) : null}
      </section>
      <div class="tables">
        {ui.past || ended != null ? null : <Processes follower={follower} />}
        <section aria-label="What happened">
          <h3>Events</h3>
          {events.length > 0 ? <EventLines events={events.slice(0, 50)} /> : <p class="quiet">None that the collector still knows of.</p>}
        </section>
        <Limits row={row} info={info} />
        <Children name={name} />
        <Files files={follower.files} />
        <Labels labels={row?.labels ?? spec?.labels ?? {}} />
      </div>
    </main>
  );
}

function nothingToDraw(ended: number | null): string {
  if (ui.past) return "Nothing is kept of it in this span.";
  if (ended == null) return "Waiting for two samples…";
  if (state.node?.history_from != null) return "Its last minutes are not in the history yet, or it lived for less than a step of it.";
  return "Its samples have ended with it; --history_dir would keep them. If it starts again, its charts begin here.";
}

/** How it ended: the first thing that somebody wants to know of one that is gone. */
function End({ row, ended }: { row: Row; ended: number }) {
  const began = row.started ?? row.created;
  const kills = row.oom_kills ?? 0;
  const more = [
    began != null && began < ended ? `It had run for ${span(ended - began)}` : "",
    row.peak == null ? "" : `used at most ${bytes(row.peak * 1024)}`,
    kills > 0 ? `had ${kills === 1 ? "one process" : `${count(kills)} processes`} killed for want of memory` : "",
  ].filter(Boolean);
  const how = ending(row);
  return (
    <p class={endedByOom(row) ? "ending hurts" : "ending"}>
      <strong>{how ? `${how[0].toUpperCase()}${how.slice(1)}` : "It ended"}</strong>, {span(state.now - ended)} ago at{" "}
      <time dateTime={new Date(ended).toISOString()}>{clock(ended)}</time>.{more.length > 0 ? ` ${sentence(more)}.` : ""}
    </p>
  );
}

/** The first begins it: `It had run for 3m, used at most 5 MiB and had one process killed`. */
function sentence(parts: string[]): string {
  const [first, ...others] = parts[0].startsWith("It ") ? parts : [`It ${parts[0]}`, ...parts.slice(1)];
  const last = others.pop();
  return last == null ? first : `${[first, ...others].join(", ")} and ${last}`;
}

function Tile({ name, value, of, hurts, share }: { name: string; value: string; of?: string; hurts?: boolean; share?: number | null }) {
  return (
    <div class={hurts ? "tile hurts" : "tile"}>
      <dt>{name}</dt>
      <dd>
        <b>{value}</b> <span class="of">{of}</span>
        {share == null ? null : <Bar share={share} hurts={hurts ?? false} />}
      </dd>
    </div>
  );
}

interface TileProps {
  row: Row | undefined;
  memoryLimit: number | null | undefined;
  quota: number | null;
  info: Info | null;
  files: Follower["files"];
}

function Tiles({ row, memoryLimit, quota, info, files }: TileProps) {
  const used = row?.memory == null ? null : row.memory * 1024;
  const waits = row ? pressure(row) : null;
  const started = row?.started ?? row?.created ?? (info?.spec.start_time ? Date.parse(info.spec.start_time) : null);
  const size = files.reduce<number | null>((sum, file) => (sum ?? 0) + file.usage, null);
  // Of one that is gone there is nothing else, and its end is told above.
  if (row?.ended != null) return null;
  return (
    <dl class="tiles">
      <Tile
        name="CPU"
        value={cpu(row?.cpu)}
        of={quota == null ? "of a core" : `of a quota of ${quota.toFixed(0)} %`}
        share={quota && row?.cpu != null ? row.cpu / 10 / quota : null}
      />
      <Tile name="Throttled" value={percent(row?.throttled)} of="of periods" hurts={(row?.throttled ?? 0) > 25} />
      <Tile
        name="Working set"
        value={bytes(used)}
        of={memoryLimit ? `of ${bytes(memoryLimit)}` : "no limit"}
        share={row ? memoryShare(row) : null}
        hurts={row ? memoryHurts(row) : false}
      />
      <Tile name="Peak" value={row?.peak == null ? UNKNOWN : bytes(row.peak * 1024)} />
      <Tile name="Pressure" value={waits ? percent(waits.share, 1) : UNKNOWN} of={waits ? waits.of : ""} />
      <Tile name="Tasks" value={count(row?.tasks)} of={row?.task_limit ? `of ${count(row.task_limit)}` : ""} />
      <Tile name="Up" value={started == null || row?.ended != null ? UNKNOWN : span(state.now - started)} />
      <Tile name="Restarts" value={row ? String(restarts(row)) : UNKNOWN} hurts={row ? latelyOf(row).restarts >= 3 : false} />
      <Tile name="OOM kills" value={count(row?.oom_kills)} hurts={(row?.oom_kills ?? 0) > 0} />
      {size == null ? null : <Tile name="Files" value={bytes(size)} />}
    </dl>
  );
}

function Processes({ follower }: { follower: Follower }) {
  const { processes } = follower;
  return (
    <section class="wide" aria-label="Processes">
      <h3>
        Processes <span class="quiet">{processes ? count(processes.length) : ""}</span>
      </h3>
      {processes == null || processes.length === 0 ? (
        <p class="quiet">{processes == null ? "Loading, or not to be seen from here." : "None."}</p>
      ) : (
        <div class="within" role="region" tabIndex={0} aria-label="List of processes">
          <table>
            <thead>
              <tr>
                <th scope="col">PID</th>
                <th scope="col" class="text">
                  User
                </th>
                <th scope="col">CPU</th>
                <th scope="col">RSS</th>
                <th scope="col" class="text">
                  State
                </th>
                <th scope="col" class="text">
                  Command
                </th>
              </tr>
            </thead>
            <tbody>
              {processes.slice(0, MOST_PROCESSES).map((process) => (
                <tr key={process.pid}>
                  <td>{process.pid}</td>
                  <td class="text">{visible(process.user)}</td>
                  <td>{percent(process.percent_cpu, 1)}</td>
                  <td>{bytes(process.rss)}</td>
                  <td class="text">{process.status}</td>
                  <td class="text command">{visible(process.cmd)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Pairs({ pairs }: { pairs: [string, string][] }) {
  return (
    <dl class="pairs">
      {pairs.map(([key, value]) => (
        <div key={key}>
          <dt>{visible(key)}</dt>
          <dd>{visible(value)}</dd>
        </div>
      ))}
    </dl>
  );
}

function Limits({ row, info }: { row: Row | undefined; info: Info | null }) {
  const spec = info?.spec;
  const { cpu: cpuSpec, memory } = spec ?? {};
  const limit = (value: number | undefined) => (limitOf(value) == null ? "none" : bytes(limitOf(value)));
  const pairs: [string, string | undefined][] = [
    ["Image", row?.image],
    ["Runtime", row?.runtime],
    ["Id", row?.container],
    ["Created", row?.created == null ? undefined : new Date(row.created).toLocaleString("en-GB")],
    ["Started", row?.started == null ? undefined : new Date(row.started).toLocaleString("en-GB")],
    ["Health", row?.health],
    ["CPU quota", cpuSpec ? (cpuSpec.quota ? `${cpuSpec.quota / 1000} ms each ${(cpuSpec.period ?? 0) / 1000} ms` : "none") : row?.cpu_limit ? `${row.cpu_limit / 10} % of a core` : undefined],
    ["CPU shares", cpuSpec?.limit == null ? undefined : count(cpuSpec.limit)],
    ["CPUs", cpuSpec?.mask],
    ["Memory limit", memory ? limit(memory.limit) : row?.memory_limit ? bytes(row.memory_limit) : undefined],
    ["Memory reservation", memory?.reservation ? limit(memory.reservation) : undefined],
    ["Swap limit", memory?.swap_limit ? limit(memory.swap_limit) : undefined],
    ["Task limit", row?.task_limit == null ? undefined : count(row.task_limit)],
  ];
  return (
    <section aria-label="What it is, and its limits">
      <h3>Limits and identity</h3>
      <Pairs pairs={pairs.filter((pair): pair is [string, string] => pair[1] != null && pair[1] !== "")} />
    </section>
  );
}

function Labels({ labels }: { labels: Record<string, string> }) {
  const pairs = Object.entries(labels);
  if (pairs.length === 0) return null;
  return (
    <section aria-label="Labels">
      <h3>Labels</h3>
      <Pairs pairs={pairs} />
    </section>
  );
}

function Files({ files }: { files: Follower["files"] }) {
  if (files.length === 0) return null;
  return (
    <section aria-label="Files">
      <h3>Files</h3>
      <Pairs pairs={files.map((file) => [file.device, `${bytes(file.usage)}${file.capacity ? ` of ${bytes(file.capacity)}` : ""}`])} />
    </section>
  );
}

function Children({ name }: { name: string }) {
  const below = childrenOf(name).sort((one, other) => (other.cpu ?? -1) - (one.cpu ?? -1) || (one.name < other.name ? -1 : 1));
  if (below.length === 0) return null;
  return (
    <section aria-label="Subcontainers">
      <h3>
        Subcontainers <span class="quiet">{below.length}</span>
      </h3>
      <ul class="children">
        {below.slice(0, MOST_CHILDREN).map((row) => (
          <li key={row.id}>
            <ContainerLink name={row.name}>{row.title}</ContainerLink>
            <span class="number">{cpu(row.cpu)}</span>
            <span class="number">{bytes(row.memory == null ? null : row.memory * 1024)}</span>
          </li>
        ))}
      </ul>
      {below.length > MOST_CHILDREN ? <p class="quiet">and {below.length - MOST_CHILDREN} more: see the cgroup tree</p> : null}
    </section>
  );
}
