// Small parts that several views use.

import type { ComponentChildren } from "preact";
import { MEMORY_HURTS, type Pain, type Row, memoryShare } from "./model";
import { bytes } from "./format";
import { follow, linkTo } from "./ui";

/** A line over the last two minutes. Below five percent of a core it stays flat: noise is no news. */
export function Spark({ values, floor = 50, hurts = false }: { values: (number | null)[]; floor?: number; hurts?: boolean }) {
  const most = values.reduce<number>((most, value) => Math.max(most, value ?? 0), floor);
  const step = 60 / Math.max(1, values.length - 1);
  let path = "";
  let pen = false;
  values.forEach((value, at) => {
    if (value == null) {
      pen = false;
      return;
    }
    path += `${pen ? "L" : "M"}${(at * step).toFixed(1)} ${(15 - (value / most) * 14).toFixed(1)}`;
    pen = true;
  });
  return (
    <svg class={hurts ? "spark hurts" : "spark"} viewBox="0 0 60 16" preserveAspectRatio="none" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

/** A bar of how much of something is in use. */
export function Bar({ share, hurts }: { share: number | null; hurts: boolean }) {
  const width = share == null ? 0 : Math.min(1, Math.max(0, share)) * 60;
  return (
    <svg class={hurts ? "bar hurts" : "bar"} viewBox="0 0 60 6" preserveAspectRatio="none" aria-hidden="true">
      {share == null ? null : <rect class="whole" width="60" height="6" />}
      <rect class="part" width={width} height="6" />
    </svg>
  );
}

export function memoryHurts(row: Row): boolean {
  const share = memoryShare(row);
  return share != null && share > MEMORY_HURTS;
}

export function limitText(row: Row): string {
  return row.memory_limit ? `/ ${bytes(row.memory_limit)}` : "";
}

export function Pains({ pains }: { pains: Pain[] }) {
  return (
    <>
      {pains.map(({ kind, text }) => (
        <span key={kind} class={`badge ${kind}`}>
          {text}
        </span>
      ))}
    </>
  );
}

export function Link({ to, children, ...rest }: { to: string; children: ComponentChildren; [key: string]: unknown }) {
  return (
    <a href={to} onClick={follow} {...rest}>
      {children}
    </a>
  );
}

export function ContainerLink({ name, children }: { name: string; children: ComponentChildren }) {
  return <Link to={linkTo(name)}>{children}</Link>;
}
