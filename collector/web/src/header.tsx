// What is known of the machine, what the collector does without, and what hurts.

import { LOOPING, type Row, THROTTLING_HURTS, endedByOom, ending, pains, pressure } from "./model";
import { bytes, clock, percent, span, visible } from "./format";
import { Bar, Link, Pains } from "./parts";
import { PastBanner, PastButton } from "./past";
import { latelyOf, rowNamed, state } from "./store";
import { chosen, linkTo, listLink, ui } from "./ui";

const MOST_PAINS = 6;

function Meter({ name, value, share, hurts, of }: { name: string; value: string; share: number | null; hurts?: boolean; of?: string }) {
  return (
    <div class={hurts ? "meter hurts" : "meter"}>
      <dt>{name}</dt>
      <dd>
        <Bar share={share} hurts={hurts ?? false} />
        <span class="number">{value}</span>
        {of ? <span class="of">{of}</span> : null}
      </dd>
    </div>
  );
}

function connection(): { text: string; kind: string } {
  switch (state.connection) {
    case "live":
      return { text: "live", kind: "live" };
    case "past":
      return { text: "the past", kind: "quiet" };
    case "paused":
      return { text: "paused", kind: "quiet" };
    case "loading":
      return { text: "loading", kind: "quiet" };
    case "unauthorised":
      return { text: "a token is needed", kind: "bad" };
    case "failed":
      return { text: "no answer", kind: "bad" };
  }
}

export function Header() {
  const node = state.node;
  const root = rowNamed("/");
  const capacity = node?.memory ?? null;
  const used = root?.memory == null ? null : root.memory * 1024;
  const memory = used == null || !capacity ? null : used / capacity;
  const cores = root?.cpu == null || !node?.cpus ? null : root.cpu / (node.cpus * 1000);
  const disk = node?.disks.reduce<{ share: number; mount: string } | null>((fullest, { capacity, usage, mount }) => {
    const share = capacity > 0 ? usage / capacity : 0;
    return !fullest || share > fullest.share ? { share, mount } : fullest;
  }, null);
  const waits = root ? pressure(root) : null;
  const { text, kind } = connection();
  return (
    <header>
      <h1>
        <Link to={listLink()} title="All containers">
          {node?.host ?? "Containers"}
        </Link>
      </h1>
      <dl class="meters" aria-label="The machine">
        <Meter
          name="CPU"
          value={cores == null ? "–" : percent(cores * 100, cores < 0.1 ? 1 : 0)}
          share={cores}
          of={node ? `of ${node.cpus} ${node.cpus === 1 ? "core" : "cores"}` : ""}
        />
        <Meter name="Memory" value={bytes(used)} share={memory} hurts={(memory ?? 0) > 0.9} of={capacity ? `of ${bytes(capacity)}` : ""} />
        {disk ? <Meter name="Disk" value={percent(disk.share * 100)} share={disk.share} hurts={disk.share > 0.9} of={disk.mount} /> : null}
        {waits ? <Meter name="Pressure" value={percent(waits.share, 1)} share={waits.share / 100} of={waits.of} /> : null}
      </dl>
      {root ? (
        <Link class="machine" to={linkTo("/")}>
          Machine
        </Link>
      ) : null}
      <PastButton />
      <p class="about">
        <span class={`connection ${kind}`} role="status">
          {text}
        </span>
        {node ? (
          <span class="quiet" title={`Linux ${node.kernel}, cgroup ${node.hierarchies}`}>
            {node.events === "ebpf" ? "kernel events" : "events by scanning"} · collector {node.version}
          </span>
        ) : null}
      </p>
      <PastBanner />
      <Trouble />
    </header>
  );
}

/** Says that what is shown is no longer true. */
function Trouble() {
  if (state.connection !== "failed" || ui.past) return null;
  return (
    <section class="trouble-banner" role="alert" aria-label="No answer">
      <strong>The collector does not answer:</strong> {visible(state.trouble)}.{" "}
      {state.node ? `What is shown is of ${clock(state.now)}, and may be over. ` : ""}
      It is asked again every two seconds.
    </section>
  );
}

/** What is missing, in words, with its fix. */
export function Degraded() {
  const lines = state.node?.degraded ?? [];
  if (lines.length === 0) return null;
  return (
    <section class="degraded" aria-label="What is missing">
      <details open={lines.length <= 2}>
        <summary>{lines.length === 1 ? "Something is missing" : `${lines.length} things are missing`}</summary>
        <ul>
          {lines.map((line) => (
            <li key={line}>{line}</li>
          ))}
        </ul>
      </details>
    </section>
  );
}

const GRAVITY = { oom: 4, looping: 3, memory: 2, throttled: 1, unhealthy: 1 };

/** The containers that hurt, the worst first. */
export function Attention({ hurting }: { hurting: Row[] }) {
  if (state.node == null) return null;
  if (hurting.length === 0) {
    return (
      <section class="attention calm" aria-label="What hurts">
        Nothing hurts: no OOM kill or crash loop in ten minutes, nothing above 90 % of its memory limit or throttled in more than{" "}
        {THROTTLING_HURTS} % of its periods.
      </section>
    );
  }
  const rated = hurting.map((row) => {
    const found = pains(row, latelyOf(row));
    const { kills, restarts } = latelyOf(row);
    const gravity = found.reduce((sum, pain) => sum + GRAVITY[pain.kind], 0) + Math.min(kills, 9) / 10 + (restarts >= LOOPING ? restarts / 100 : 0);
    return { row, found, gravity };
  });
  rated.sort((one, other) => other.gravity - one.gravity || (one.row.name < other.row.name ? -1 : 1));
  const more = rated.length - MOST_PAINS;
  return (
    <section class="attention" aria-label="What hurts">
      <h2>
        {hurting.length} {hurting.length === 1 ? "container hurts" : "containers hurt"}
      </h2>
      <ul>
        {rated.slice(0, MOST_PAINS).map(({ row, found }) => (
          <li key={row.id}>
            <Link to={linkTo(row.name)} title={`${row.title} (${row.group})`}>
              <strong>{row.title}</strong>
              <span class="where">{row.group}</span>
              {endedByOom(row) ? <span class="badge oom">{ending(row)}</span> : null}
              <Pains pains={endedByOom(row) ? found.filter(({ kind }) => kind !== "oom") : found} />
              {row.ended == null ? null : <span class="where">ended {span(state.now - row.ended)} ago</span>}
            </Link>
          </li>
        ))}
        {more > 0 && ui.shown !== "hurting" ? (
          <li>
            <button type="button" onClick={() => chosen({ shown: "hurting" })}>
              and {more} more
            </button>
          </li>
        ) : null}
      </ul>
    </section>
  );
}
