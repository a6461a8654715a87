// Which rows the list has, in which order, under which headings.

import {
  type Row,
  lifeKey,
  matches,
  memoryShare,
  pains,
  pressure,
  termsOf,
} from "./model";
import { latelyOf, state } from "./store";
import { ui } from "./ui";

export interface Group {
  kind: "group";
  key: string;
  title: string;
  of: Row["groupKind"];
  rows: Row[];
  cpu: number | null;
  memory: number | null;
  hurting: number;
  folded: boolean;
}

export interface Line {
  kind: "row";
  key: string;
  row: Row;
  depth: number;
  /** Whether there is something below it to be folded; null where there is not. */
  folded: boolean | null;
}

export type Item = Group | Line;

export interface Arranged {
  items: Item[];
  /** Rows that fit the search, whatever is folded. */
  found: number;
  all: number;
  hurting: Row[];
  ended: number;
  /** Cgroups in the list that no runtime made. */
  bare: number;
}

export type SortKey = (row: Row) => number | string | null;

export const SORTS: Record<string, SortKey> = {
  name: (row) => row.order,
  cpu: (row) => row.cpu,
  throttled: (row) => row.throttled,
  memory: (row) => row.memory,
  limit: (row) => memoryShare(row),
  pressure: (row) => pressure(row)?.share ?? null,
  received: (row) => row.received,
  sent: (row) => row.sent,
  read: (row) => row.read,
  written: (row) => row.written,
  tasks: (row) => row.tasks,
  up: (row) => row.started ?? row.created ?? null,
  restarts: (row) => restarts(row),
  oom: (row) => row.oom_kills,
};

/** As its runtime counts them, or as they were seen. */
export function restarts(row: Row): number {
  return Math.max(Number(row.labels?.restartcount ?? 0) || 0, latelyOf(row).restarts);
}

/** Containers and the cgroups that have none below them: what is neither a part of another row nor a sum of others. */
function leavesOf(rows: Row[]): Row[] {
  const byName = new Map(rows.map((row) => [row.name, row]));
  const parents = new Set<string>();
  for (const { name } of rows) {
    for (let at = name.lastIndexOf("/"); at > 0; at = name.lastIndexOf("/", at - 1)) {
      const parent = name.slice(0, at);
      if (parents.has(parent)) break;
      parents.add(parent);
    }
  }
  parents.add("/");
  const isPart = (name: string) => {
    for (let at = name.lastIndexOf("/"); at > 0; at = name.lastIndexOf("/", at - 1)) {
      const parent = byName.get(name.slice(0, at));
      if (parent?.container) return true;
    }
    return false;
  };
  return rows.filter((row) => row.container != null || (!parents.has(row.name) && !isPart(row.name)));
}

/** Of several lives of one and the same thing the one that goes on, or the last. */
function lastLives(rows: Row[]): Row[] {
  const lives = new Map<string, Row>();
  for (const row of rows) {
    const key = lifeKey(row);
    const other = lives.get(key);
    const rank = (one: Row) => (one.ended == null ? Number.POSITIVE_INFINITY : one.ended);
    if (!other || rank(row) > rank(other) || (rank(row) === rank(other) && row.id > other.id)) lives.set(key, row);
  }
  return [...lives.values()];
}

/** Of what ended only containers stay in sight, and what was killed: bare cgroups come and go by the thousand. */
const isKept = (row: Row) => row.container != null || (row.oom_kills ?? 0) > 0;

const sum = (rows: Row[], of: (row: Row) => number | null) => {
  const known = rows.map(of).filter((value) => value != null);
  return known.length === 0 ? null : known.reduce((all, value) => all + value, 0);
};

function compare(one: number | string | null, other: number | string | null): number {
  if (one === other) return 0;
  // What is not known comes last, in either direction.
  if (one == null) return ui.descending ? -1 : 1;
  if (other == null) return ui.descending ? 1 : -1;
  return one < other ? -1 : 1;
}

let order = new Map<string, number>();
let orderOf = "";

/** Arranges everything. While `hold` is set, rows stay where they are: somebody is about to click on one. */
export function arrange(hold: boolean): Arranged {
  const rows = [...state.rows.values()];
  const every = leavesOf(rows);
  const leaves = lastLives(every);
  const hurting = leaves.filter((row) => pains(row, latelyOf(row)).length > 0);
  const terms = termsOf(ui.search);
  const of = ui.route.runtime;
  const candidates = ui.view === "tree" ? rows : ui.shown === "ended" ? every : leaves;
  const isHurting = new Set(hurting);
  const found = candidates.filter(
    (row) =>
      matches(row.text, terms) &&
      (of === "" || row.runtime === of) &&
      (ui.shown !== "hurting" || isHurting.has(row)) &&
      (ui.shown === "ended" ? row.ended != null : row.ended == null || isKept(row)) &&
      (ui.view !== "tree" || ui.shown === "ended" || row.ended == null),
  );
  const key = SORTS[ui.sort] ?? SORTS.cpu;
  const held = `${ui.view} ${ui.sort} ${ui.descending}`;
  const before = hold && held === orderOf ? order : new Map<string, number>();
  // What is compared is worked out once for each row, and not for each comparison. Of equals what hurts comes first.
  const sorted = (rows: Row[]) => {
    const places = rows.map((row) => ({ row, place: before.get(`r${row.id}`), ended: Number(row.ended != null), calm: Number(!isHurting.has(row)), value: key(row) }));
    places.sort((one, other) => {
      if (one.place !== undefined && other.place !== undefined) return one.place - other.place;
      const compared = compare(one.value, other.value);
      const [here, there] = [one.row, other.row];
      const alike = here.order === there.order ? here.name < there.name : here.order < there.order;
      return one.ended - other.ended || (ui.descending ? -compared : compared) || one.calm - other.calm || (alike ? -1 : 1);
    });
    return places.map(({ row }) => row);
  };
  let items: Item[];
  if (ui.view === "tree") items = tree(found, rows, sorted, terms.length > 0 || ui.shown !== "all");
  else if (ui.view === "flat") items = sorted(found).map((row) => line(row, 0, null));
  else items = grouped(sorted(found), before, isHurting, terms.length > 0);
  if (!hold || held !== orderOf) {
    order = new Map(items.map((item, at) => [item.key, at]));
    orderOf = held;
  } else {
    for (const item of items) if (!order.has(item.key)) order.set(item.key, order.size);
  }
  const ended = every.filter((row) => row.ended != null).length;
  const all = candidates.filter((row) => ui.shown === "ended" || row.ended == null || (ui.view !== "tree" && isKept(row)));
  const bare = all.filter((row) => row.container == null).length;
  return { items, found: found.length, all: all.length, hurting, ended, bare };
}

const line = (row: Row, depth: number, folded: boolean | null): Line => ({
  kind: "row",
  key: `r${row.id}`,
  row,
  depth,
  folded,
});

/** What is searched for is to be seen: groups are `open` then, whatever is folded. */
function grouped(found: Row[], before: Map<string, number>, hurting: Set<Row>, open: boolean): Item[] {
  const groups = new Map<string, Row[]>();
  for (const row of found) {
    const key = `${row.groupKind} ${row.group}`;
    const known = groups.get(key);
    if (known) known.push(row);
    else groups.set(key, [row]);
  }
  const made = [...groups].map(
    ([key, rows]): Group => ({
      kind: "group",
      key: `g${key}`,
      title: rows[0].group,
      of: rows[0].groupKind,
      rows,
      cpu: sum(rows, (row) => row.cpu),
      memory: sum(rows, (row) => row.memory),
      hurting: rows.filter((row) => hurting.has(row)).length,
      folded: !open && ui.folded.has(`g${key}`),
    }),
  );
  const valueOf = (group: Group): number | string | null => {
    if (ui.sort === "name") return group.title.toLowerCase();
    if (ui.sort === "cpu") return group.cpu;
    if (ui.sort === "memory") return group.memory;
    const key = SORTS[ui.sort] ?? SORTS.cpu;
    const values = group.rows.map(key).filter((value) => value != null) as number[];
    if (values.length === 0) return null;
    return ui.descending ? Math.max(...values) : Math.min(...values);
  };
  made.sort((one, other) => {
    const [here, there] = [before.get(one.key), before.get(other.key)];
    if (here !== undefined && there !== undefined) return here - there;
    const compared = compare(valueOf(one), valueOf(other));
    return (ui.descending ? -compared : compared) || (one.title < other.title ? -1 : 1);
  });
  return made.flatMap((group) => [group, ...(group.folded ? [] : group.rows.map((row) => line(row, 1, null)))]);
}

/** The cgroups as a tree: what fits the search, with everything that leads there. */
function tree(found: Row[], all: Row[], sorted: (rows: Row[]) => Row[], open: boolean): Item[] {
  const wanted = new Set(found);
  const byName = new Map(all.filter((row) => row.ended == null).map((row) => [row.name, row]));
  for (const row of found) {
    for (let name = row.name; name !== "/"; ) {
      name = name.slice(0, name.lastIndexOf("/")) || "/";
      const parent = byName.get(name);
      if (parent) wanted.add(parent);
    }
  }
  const children = new Map<string, Row[]>();
  const roots: Row[] = [];
  for (const row of wanted) {
    let parent = row.name === "/" ? "" : row.name.slice(0, row.name.lastIndexOf("/")) || "/";
    while (parent !== "" && !byName.has(parent)) parent = parent === "/" ? "" : parent.slice(0, parent.lastIndexOf("/")) || "/";
    if (parent === "") roots.push(row);
    else {
      const known = children.get(parent);
      if (known) known.push(row);
      else children.set(parent, [row]);
    }
  }
  const items: Item[] = [];
  const add = (row: Row, depth: number) => {
    const below = row.ended == null ? (children.get(row.name) ?? []) : [];
    const folded = below.length === 0 ? null : !open && isFolded(row.name, depth, below.length);
    items.push(line(row, depth, folded));
    if (folded === false) for (const child of sorted(below)) add(child, depth + 1);
  };
  for (const root of sorted(roots)) add(root, 0);
  return items;
}

/** Directories with very many children begin folded. */
function isFolded(name: string, depth: number, children: number): boolean {
  const chosen = ui.folded.has(`t${name}`);
  const atFirst = depth > 0 && children > 200;
  return chosen !== atFirst;
}
