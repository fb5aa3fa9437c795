// How often the first, second, … child of a drafted node was kept and what rows cost: what the best fixed tree depends on.
import { expected, VivaceError } from '../../../errors.js';
import { readText, writeFile } from '../../../formats/file.js';
import type { FixedShape } from '../../../program/executor.js';
import { BestShapes, mostNodes, type Acceptance } from './best-shape.js';

/** Cases from which on a rate counts. */
const ENOUGH = 12;
/** Drafts after which a tree is chosen by what is known; before, one is drafted that shows much. */
const CYCLES = 48;
/** Of the tree that is drafted before: children of each node on the way along first children. */
const LOOKED_AT = 4;

/** In a file: JSON of this. */
export interface AcceptanceData {
  /** What kind of text was measured. */
  readonly domain: string;
  /** Drafts that were verified. */
  readonly cycles: number;
  /** Milliseconds of a round of the target by rows, c[0] of one row; null: not measured. */
  readonly c: readonly (number | null)[];
  /** Milliseconds of one level of a draft; null: not measured. */
  readonly level: number | null;
  /** [depth][rank]: of the nodes that were kept and had such a child, the share of which it was kept; the root has depth 0. */
  readonly a: readonly (readonly number[])[];
  /** [depth][rank]: how many nodes that were. */
  readonly n: readonly (readonly number[])[];
}

export class AcceptanceProfile {
  private count: number;
  private readonly tried: number[][];
  private readonly kept: number[][];
  private readonly rounds: (number | null)[];
  private levelMs: number | null;
  private readonly known = new Map<string, FixedShape>();
  private readonly searched = new Map<number, BestShapes>(); // by depth

  constructor(
    readonly domain = '',
    data?: AcceptanceData,
  ) {
    this.count = data?.cycles ?? 0;
    this.tried = (data?.n ?? []).map((row) => [...row]);
    this.kept = this.tried.map((row, depth) => row.map((n, rank) => n * (data?.a[depth]?.[rank] ?? 0)));
    this.rounds = [...(data?.c ?? [])];
    this.levelMs = data?.level ?? null;
  }

  /** Throws FILE_NOT_FOUND, FILE_UNREADABLE, and FORMAT_INVALID for other files. */
  static open(path: string): AcceptanceProfile {
    const text = readText(path);
    try {
      const data = JSON.parse(text) as AcceptanceData;
      const within = (value: unknown, most: number): boolean =>
        typeof value === 'number' && value >= 0 && value <= most;
      const table = (rows: unknown, most: number): boolean =>
        Array.isArray(rows) &&
        rows.length <= 64 &&
        rows.every((row) => Array.isArray(row) && row.length <= 64 && row.every((value) => within(value, most)));
      const time = (value: unknown): boolean => value === null || within(value, 1e9);
      const sound =
        typeof data.domain === 'string' &&
        within(data.cycles, 1e15) &&
        table(data.a, 1) &&
        table(data.n, 1e15) &&
        Array.isArray(data.c) &&
        data.c.every(time) &&
        time(data.level);
      if (!sound) throw new Error('it makes no sense');
      return new AcceptanceProfile(data.domain, data);
    } catch (cause) {
      const why = (cause as Error).message;
      throw new VivaceError('FORMAT_INVALID', `${path} is no profile of drafts: ${why}`, { cause });
    }
  }

  save(path: string): void {
    writeFile(path, [Buffer.from(`${JSON.stringify(this)}\n`)]);
  }

  toJSON(): AcceptanceData {
    const a = this.tried.map((row, depth) => row.map((n, rank) => (n > 0 ? this.kept[depth][rank] / n : 0)));
    const { domain, count: cycles, rounds: c, levelMs: level, tried: n } = this;
    return { domain, cycles, c: Array.from(c, (ms) => ms ?? null), level, a, n };
  }

  /** Drafts that were verified. */
  get cycles(): number {
    return this.count;
  }

  /** A draft was verified: of each node that was kept, its depth, its children, and which of them was kept, −1 for none. */
  record(nodes: readonly { readonly depth: number; readonly children: number; readonly rank: number }[]): void {
    this.count++;
    if ((this.count & (this.count - 1)) === 0) {
      // What is best is looked for again at 64, 128, …
      this.known.clear();
      this.searched.clear();
    }
    for (const { depth, children, rank } of nodes) {
      const tried = (this.tried[depth] ??= []);
      const kept = (this.kept[depth] ??= []);
      for (let i = 0; i < children; i++) {
        tried[i] = (tried[i] ?? 0) + 1;
        kept[i] = (kept[i] ?? 0) + Number(i === rank);
      }
    }
  }

  /** What `NativeDrafter.studied` has counted; `timed`: with how long it took. */
  recordAll(counts: Int32Array, timed: boolean): void {
    const header = 5;
    for (let at = 0; at < counts.length; at += header + 3 * counts[at]) {
      const [kept, levels, draftUs, rows, roundUs] = counts.subarray(at, at + header);
      this.record(
        Array.from({ length: kept }, (_, i) => {
          const [depth, children, rank] = counts.subarray(at + header + 3 * i);
          return { depth, children, rank };
        }),
      );
      if (timed) this.time(levels, draftUs / 1000, rows, roundUs / 1000);
    }
  }

  /** What a draft of so many levels took, and the target's round of so many rows. */
  time(levels: number, draftMs: number, rows: number, roundMs: number): void {
    const follow = (old: number | null | undefined, ms: number): number =>
      old === null || old === undefined || ms < old ? ms : old + 0.1 * (ms - old);
    this.levelMs = follow(this.levelMs, draftMs / levels);
    this.rounds[rows - 1] = follow(this.rounds[rows - 1], roundMs);
  }

  /** Rates that are known, by depth and rank; deeper nodes are like the last ones. */
  acceptance(): Acceptance {
    const rows: number[][] = [];
    for (const [depth, tried] of this.tried.entries()) {
      const enough = tried.findIndex((n) => n < ENOUGH);
      const rates = tried.slice(0, enough < 0 ? tried.length : enough).map((n, rank) => this.kept[depth][rank] / n);
      if (rates.length === 0) break;
      rows.push(rates);
    }
    return rows;
  }

  /**
   * The tree of at most this depth and so many nodes that gives the most tokens per second, or where no times are known the
   * most tokens; for a profile that knows too little, a tree that shows much.
   */
  shape(depth: number, nodes: number): FixedShape {
    const key = `${depth}/${nodes}/${this.count < CYCLES}`;
    const old = this.known.get(key);
    if (old) return old;
    const acceptance = this.acceptance();
    const knowsLittle = this.count < CYCLES || acceptance.length === 0;
    const shape = knowsLittle ? looking(depth, nodes) : this.best(acceptance, depth, Math.min(nodes, mostNodes));
    this.known.set(key, shape);
    return shape;
  }

  private best(acceptance: Acceptance, depth: number, most: number): FixedShape {
    const level = this.levelMs ?? 0;
    let best: { rate: number; shapes: BestShapes; m: number } | undefined;
    const untimed = !this.rounds.some((ms) => ms !== null && ms !== undefined);
    for (let l = untimed ? depth : 1; l <= depth; l++) {
      const shapes = this.searched.get(l) ?? new BestShapes(acceptance, l, mostNodes);
      this.searched.set(l, shapes);
      for (let m = untimed ? most : 1; m <= most; m++) {
        const rate = shapes.tokens(m) / (untimed ? 1 : l * level + this.roundMs(m + 1));
        if (best === undefined || rate > best.rate) best = { rate, shapes, m };
      }
    }
    return best ? best.shapes.shape(best.m) : looking(depth, most);
  }

  /** Between what was measured a line, beyond it as much per row as the last one. */
  private roundMs(rows: number): number {
    const points = this.rounds.flatMap((ms, index) =>
      ms === null || ms === undefined ? [] : [[index + 1, ms] as const],
    );
    const above = points.findIndex(([count]) => count >= rows);
    if (points.length === 1 || above === 0) return points[0][1];
    const [[x0, y0], [x1, y1]] = above < 0 ? points.slice(-2) : points.slice(above - 1, above + 1);
    return Math.max(y0, y0 + ((y1 - y0) * (rows - x0)) / (x1 - x0));
  }
}

/** A path with several children of each of its nodes. */
function looking(depth: number, nodes: number): FixedShape {
  const parents: number[] = [];
  const children = Math.max(1, Math.min(LOOKED_AT, Math.floor(nodes / depth)));
  for (let d = 0, node = -1; d < depth && parents.length < nodes; d++) {
    const first = parents.length;
    for (let i = 0; i < children && parents.length < nodes; i++) parents.push(node);
    node = first;
  }
  return { parents: Int32Array.from(parents) };
}

/** Throws INVALID_ARGUMENT. */
export function checkShape(parents: unknown): Int32Array {
  const list = Array.isArray(parents) || parents instanceof Int32Array ? Array.from(parents as ArrayLike<unknown>) : [];
  const sound = list.every(
    (parent, node) => Number.isInteger(parent) && (parent as number) >= -1 && (parent as number) < node,
  );
  if (list.length === 0 || list.length > 512 || !sound) {
    throw expected('for each of 1 to 512 nodes the parent before it, or −1', 'tree', parents);
  }
  // Level by level, so that what is too deep can be cut off.
  const depths: number[] = [];
  for (const parent of list as number[]) depths.push(parent < 0 ? 0 : depths[parent] + 1);
  const order = [...depths.keys()].sort((a, b) => depths[a] - depths[b] || a - b);
  const places = new Map(order.map((node, place) => [node, place]));
  return Int32Array.from(order, (node) => places.get((list as number[])[node]) ?? -1);
}
