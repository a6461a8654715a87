// Where the user is and what was chosen; all of it is in the address, so that it can be sent to somebody.

export type View = "groups" | "flat" | "tree";
export type Shown = "all" | "hurting" | "ended";

export interface Route {
  /** The list, the page of a cgroup, or that of a container by what its runtime calls it. */
  page: "list" | "cgroup" | "called";
  runtime: string;
  name: string;
}

/** A span of the past, in milliseconds since 1970; the list is as it was at its end. */
export interface Span {
  from: number;
  to: number;
}

export const ui = {
  /** What is looked at instead of now. */
  past: null as Span | null,
  route: { page: "list", runtime: "", name: "" } as Route,
  search: "",
  view: "groups" as View,
  shown: "all" as Shown,
  sort: "cpu",
  descending: true,
  folded: new Set<string>(),
  /** The row that the keyboard is at. */
  at: null as string | null,
  tab: "containers" as "containers" | "events",
};

let listener: () => void = () => {};

export function onMove(moved: () => void): void {
  listener = moved;
}

const BASE = new URL(".", document.baseURI).pathname;

function readRoute(path: string): Route {
  const below = path.startsWith(BASE) ? path.slice(BASE.length) : path;
  const [page, ...rest] = below.split("/").map((segment) => {
    try {
      return decodeURIComponent(segment);
    } catch {
      return segment;
    }
  });
  const name = rest.filter((segment) => segment !== "").join("/");
  if (page === "docker" || page === "podman") return { page: name ? "called" : "list", runtime: page, name };
  if (name) return { page: "cgroup", runtime: "", name: `/${name}` };
  return { page: "list", runtime: "", name: "" };
}

export function readAddress(): void {
  const query = new URLSearchParams(location.search);
  ui.route = readRoute(location.pathname);
  if (query.has("machine")) ui.route = { page: "cgroup", runtime: "", name: "/" };
  ui.past = readSpan(query);
  ui.search = query.get("q") ?? "";
  const view = query.get("view");
  ui.view = view === "tree" || view === "flat" ? view : "groups";
  const shown = query.get("show");
  ui.shown = shown === "hurting" || shown === "ended" ? shown : "all";
  const sort = query.get("sort") ?? "-cpu";
  ui.descending = sort.startsWith("-");
  ui.sort = sort.replace(/^-/, "");
}

/** A span as `from` and `to`, or a moment as `at` with the hour before it. */
function readSpan(query: URLSearchParams): Span | null {
  const time = (key: string) => {
    const text = query.get(key) ?? "";
    return /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text);
  };
  const to = query.has("at") ? time("at") : time("to");
  const from = query.has("from") ? time("from") : to - 3_600_000;
  return from < to ? { from, to } : null;
}

function withSpan(query: URLSearchParams): string {
  if (ui.past) {
    query.set("from", new Date(ui.past.from).toISOString());
    query.set("to", new Date(ui.past.to).toISOString());
  }
  const text = query.toString().replaceAll("%3A", ":");
  return text ? `?${text}` : "";
}

function query(): string {
  const query = new URLSearchParams();
  if (ui.search) query.set("q", ui.search);
  if (ui.view !== "groups") query.set("view", ui.view);
  if (ui.shown !== "all") query.set("show", ui.shown);
  const sort = `${ui.descending ? "-" : ""}${ui.sort}`;
  if (sort !== "-cpu") query.set("sort", sort);
  return withSpan(query);
}

/** What was chosen goes into the address without a step in the history. */
export function chosen(change: Partial<typeof ui>): void {
  Object.assign(ui, change);
  history.replaceState(history.state, "", location.pathname + query());
  listener();
}

export const listLink = () => `${BASE}containers/${query()}`;

export function linkTo(name: string): string {
  if (name === "/") return `${BASE}containers/${withSpan(new URLSearchParams({ machine: "" }))}`.replace("machine=", "machine");
  const span = ui.past ? withSpan(new URLSearchParams()) : "";
  return `${BASE}containers${name.split("/").map(encodeURIComponent).join("/")}${span}`;
}

let looked: () => void = () => {};

/** Who has to know that another time is looked at. */
export function onLook(listener: () => void): void {
  looked = listener;
}

/** Looks at a span of the past, or at what is now. It is a step in the browser's history. */
export function look(past: Span | null): void {
  ui.past = past;
  const here = ui.route.page === "list" ? location.pathname + query() : location.pathname + withSpan(new URLSearchParams(ui.route.name === "/" ? { machine: "" } : {}));
  history.pushState({ within: true }, "", here);
  looked();
  listener();
}

export function go(address: string): void {
  history.pushState({ within: true }, "", address);
  ui.route = readRoute(location.pathname);
  if (new URLSearchParams(location.search).has("machine")) ui.route = { page: "cgroup", runtime: "", name: "/" };
  listener();
  scrollTo(0, 0);
}

/** For links within the page: other buttons, and keys that open a new tab, stay the browser's. */
export function follow(event: MouseEvent): void {
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go((event.currentTarget as HTMLAnchorElement).href);
}

addEventListener("popstate", () => {
  const before = JSON.stringify(ui.past);
  const { search, view, shown, sort, descending } = ui;
  readAddress();
  // The address of a container's page says nothing about the list that is gone back to.
  if (ui.route.page !== "list") Object.assign(ui, { search, view, shown, sort, descending });
  if (JSON.stringify(ui.past) !== before) looked();
  listener();
});
