// Charts over time, by uPlot: lines, a dashed line for a limit, upright lines for what happened.

import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { UNKNOWN, span } from "./format";
import type { Point } from "./samples";

export interface Series {
  key: keyof Point;
  name: string;
  /** The name of a colour in the style sheet. */
  colour: string;
  fill?: boolean;
  /** The same in Prometheus, for the containers that the selector takes. */
  promql: (of: string) => string;
}

/** The whole chart as one query. Lines that would have the same labels get a label of their own. */
function query(series: Series[], of: string): string {
  const [first, ...others] = series;
  if (first == null || others.length === 0) return first?.promql(of) ?? "";
  return series.map(({ name, promql }) => `label_replace(${promql(of)}, "line", "${name}", "", "")`).join(" or ");
}

export interface Marker {
  at: number;
  kind: "kill" | "start" | "end" | "change";
}

interface ChartProps {
  title: string;
  points: Point[];
  series: Series[];
  format: (value: number | null) => string;
  /** Drawn as a dashed line, and always in view when it is near: where the points do not have one of their own. */
  limit?: number | null;
  /** Which of the points' values is the limit at that time. */
  limitKey?: "quota" | "memory_limit";
  limitName?: string;
  markers: Marker[];
  /** Which containers its copied query takes. */
  of: string;
  /** Bytes: the axis has powers of two. */
  binary?: boolean;
  /** The top of the axis is at least this. */
  floor: number;
}

const POWERS = Array.from({ length: 50 }, (_, exponent) => 2 ** exponent);
const SYNC = uPlot.sync("container");
const DARK = matchMedia("(prefers-color-scheme: dark)");
const MARKS: Record<Marker["kind"], string> = { kill: "--hurt", start: "--start", end: "--start", change: "--change" };
const NAMES: Record<Marker["kind"], string> = { kill: "OOM kill", start: "start", end: "end", change: "limit changed" };
const MANY_MARKERS = 12;
/** Pixels drawn and left out, so that they differ without colours. */
const DASHES: Record<Marker["kind"], number[]> = { kill: [], start: [4, 3], end: [1, 3], change: [8, 3] };

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function Chart(props: ChartProps) {
  const { title, points, series, format, limit, limitName, markers, of } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const now = useRef(props);
  now.current = props;

  const data = (): uPlot.AlignedData => {
    const { points, series, limit, limitKey } = now.current;
    const lines = series.map(({ key }) => points.map((point) => point[key] as number | null));
    const known = limitKey != null && points.some((point) => point[limitKey] != null);
    const limits = points.map((point) => (known ? point[limitKey] : limit) ?? null);
    return [points.map((point) => point.at / 1000), ...lines, limits];
  };

  const make = () => {
    plot.current?.destroy();
    const element = box.current!;
    const quiet = colour("--quiet");
    const axis = { stroke: quiet, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const drawMarkers = (chart: uPlot) => {
      const { ctx, bbox } = chart;
      const seen = now.current.markers
        .map(({ at, kind }) => ({ x: Math.round(chart.valToPos(at / 1000, "x", true)), kind }))
        .filter(({ x }) => x >= bbox.left && x <= bbox.left + bbox.width);
      // A fence of them must not hide the lines.
      const faint = seen.length > MANY_MARKERS;
      for (const { x, kind } of seen) {
        ctx.save();
        ctx.strokeStyle = colour(MARKS[kind]);
        ctx.fillStyle = ctx.strokeStyle;
        ctx.lineWidth = (faint ? 1 : 2) * devicePixelRatio;
        ctx.globalAlpha = faint ? 0.35 : 1;
        ctx.setLineDash(DASHES[kind].map((length) => length * devicePixelRatio));
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        ctx.globalAlpha = 1;
        if (kind === "kill") {
          const size = 5 * devicePixelRatio;
          ctx.beginPath();
          ctx.moveTo(x - size, bbox.top);
          ctx.lineTo(x + size, bbox.top);
          ctx.lineTo(x, bbox.top + size * 1.6);
          ctx.fill();
        }
        ctx.restore();
      }
    };
    plot.current = new uPlot(
      {
        width: Math.max(200, element.clientWidth),
        height: 170,
        legend: { show: false },
        cursor: { sync: { key: SYNC.key }, points: { size: 6 }, y: false, drag: { x: false, y: false } },
        padding: [8, 8, 0, 0],
        scales: {
          y: {
            range: (_, __, most) => {
              const { limit, floor } = now.current;
              const top = Math.max(most || 0, floor);
              // A limit far above would press the line to the ground.
              return [0, limit != null && limit < top * 3 ? Math.max(top, limit) * 1.08 : top * 1.08];
            },
          },
        },
        axes: [
          { ...axis, size: 24, space: 70, values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString("en-GB")) },
          {
            ...axis,
            size: 66,
            space: 32,
            ...(props.binary ? { incrs: POWERS } : {}),
            values: (_, ticks) => ticks.map((tick) => now.current.format(tick).replace(/\.0+ /, " ")),
          },
        ],
        series: [
          {},
          ...series.map(({ name, colour: of, fill }) => ({
            label: name,
            stroke: colour(of),
            width: 1.5,
            fill: fill ? `${colour(of)}22` : undefined,
            points: { show: false },
            spanGaps: false,
          })),
          { label: "limit", stroke: colour("--hurt"), width: 1.5, dash: [6, 4], points: { show: false } },
        ],
        hooks: { draw: [drawMarkers] },
      },
      data(),
      element,
    );
  };

  useLayoutEffect(() => {
    make();
    const observer = new ResizeObserver(() => {
      const width = box.current?.clientWidth ?? 0;
      if (plot.current && width > 0 && Math.abs(width - plot.current.width) > 1) plot.current.setSize({ width, height: 170 });
    });
    observer.observe(box.current!);
    DARK.addEventListener("change", make);
    return () => {
      observer.disconnect();
      DARK.removeEventListener("change", make);
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);

  useEffect(() => {
    plot.current?.setData(data());
  }, [points.length, points.at(-1)?.at, limit, markers.length]);

  const last = points.at(-1);
  // Of the past not every line is kept.
  const drawn = series.filter(({ key }) => points.length === 0 || points.some((point) => point[key] != null));
  const values = drawn.map(({ key, name, colour: of }) => ({ key, name, of, value: (last?.[key] ?? null) as number | null }));
  const kinds = [...new Set(markers.filter(({ at }) => points.length > 0 && at >= points[0].at).map(({ kind }) => kind))];
  const spoken = values.map(({ name, value }) => `${name} ${format(value)}`).join(", ");
  return (
    <figure class="chart" data-chart={title}>
      <figcaption>
        <h3>{title}</h3>
        <Copy text={query(series, of)} what={title} />
      </figcaption>
      <div ref={box} class="plot" role="img" aria-label={`${title} over ${points.length > 0 ? span(points[points.length - 1].at - points[0].at) : "time"}: ${spoken}`} />
      <ul class="legend">
        {values.map(({ key, name, of, value }) => (
          <li key={key} data-series={key} data-value={value ?? ""}>
            <i class={`swatch ${of.slice(2)}`} />
            {name} <b>{value == null ? UNKNOWN : format(value)}</b>
          </li>
        ))}
        {limit == null ? null : (
          <li data-series="limit" data-value={limit}>
            <i class="swatch dashed" />
            {limitName ?? "limit"} <b>{format(limit)}</b>
          </li>
        )}
        {kinds.map((kind) => (
          <li key={kind} data-marker={kind}>
            <i class={`swatch upright ${kind}`} />
            {NAMES[kind]} <b>{markers.filter((marker) => marker.kind === kind && marker.at >= points[0].at).length}×</b>
          </li>
        ))}
      </ul>
    </figure>
  );
}

/** Copies a text also where the page was not loaded over TLS, where browsers have no clipboard for it. */
async function copy(text: string): Promise<void> {
  if (navigator.clipboard && isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "offscreen";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function Copy({ text, what, label = "Copy as PromQL" }: { text: string; what: string; label?: string }) {
  const done = (event: MouseEvent) => {
    const button = event.currentTarget as HTMLButtonElement;
    void copy(text).then(
      () => {
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = label), 1200);
      },
      () => (button.textContent = text),
    );
  };
  return (
    <button type="button" class="copy" title={text} data-copies={text} aria-label={`${label}: ${what}`} onClick={done}>
      {label}
    </button>
  );
}
