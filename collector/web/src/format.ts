// Numbers for people. What is not known is a dash and never 0.

export const UNKNOWN = "–";

type Maybe = number | null | undefined;

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Bytes with three digits: `3.42 GiB`, `12.5 MiB`, `873 KiB`. */
export function bytes(value: Maybe): string {
  if (value == null) return UNKNOWN;
  let unit = 0;
  while (value >= 1000 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${digits(value, unit === 0)} ${BYTE_UNITS[unit]}`;
}

function digits(value: number, whole: boolean): string {
  if (whole) return String(Math.round(value));
  return value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

/** Bytes per second: a dot for nothing at all, so that what moves stands out. */
export function rate(value: Maybe): string {
  if (value == null) return UNKNOWN;
  return value < 1 ? "0" : `${bytes(value)}/s`;
}

/** The same without the unit of time, for columns whose head says it. */
export function rateShort(value: Maybe): string {
  if (value == null) return UNKNOWN;
  if (value < 1) return "0";
  const units = ["B", "K", "M", "G", "T"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 99.95 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

/** Thousandths of a core as percent of one core. */
export function cpu(milli: Maybe): string {
  if (milli == null) return UNKNOWN;
  const percent = milli / 10;
  return percent >= 100 ? `${percent.toFixed(0)} %` : `${percent.toFixed(1)} %`;
}

export function percent(value: Maybe, decimals = 0): string {
  return value == null ? UNKNOWN : `${value.toFixed(decimals)} %`;
}

const COUNT = new Intl.NumberFormat("en-US");

export function count(value: Maybe): string {
  return value == null ? UNKNOWN : COUNT.format(value);
}

/** A span of time in its two greatest units: `3d 4h`, `12m 5s`. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const parts: [number, string][] = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return "0s";
  const shown = parts.slice(first, first + (parts[first][0] >= 10 ? 1 : 2));
  return shown
    .filter(([value], at) => at === 0 || value > 0)
    .map(([value, unit]) => `${value}${unit}`)
    .join(" ");
}

export function clock(at: number): string {
  return new Date(at).toLocaleTimeString("en-GB");
}

export function ordinal(number: number): string {
  const last = number % 100;
  const ending = last > 10 && last < 14 ? "th" : (["th", "st", "nd", "rd"][number % 10] ?? "th");
  return `${number}${ending}`;
}

/** The text, with characters that would not be seen, or that would turn the line around, made visible. */
export function visible(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (letter) => {
    const code = letter.codePointAt(0) ?? 0;
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}
