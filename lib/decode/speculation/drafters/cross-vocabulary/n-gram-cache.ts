// Runs of a drafter's tokens that together are one token of the target: learned from what the target says.

export type Eviction = 'lru' | 'lfu';

export interface NGramCacheOptions {
  /** Tokens of the longest run, 2 to 8. */
  readonly maxN: number;
  /** Runs that are kept; one makes room for the next. 0: none are. */
  readonly maxEntries: number;
  /** Which makes room: the one that was used longest ago, or the one that was used least. */
  readonly evict: Eviction;
}

/** A run, and how often and when it was used last. */
export interface Route {
  readonly target: number;
  readonly tokens: Int32Array;
  hits: number;
  used: number; // by the cache's clock
}

const ROOT = 0;
const SPAN = 2 ** 21; // above any token: a node and a token are one whole number

/**
 * A trie over the drafter's tokens. A target token has one route, of 2 to `maxN` tokens. Look-ups take O(maxN), insertions
 * and evictions O(maxN), but evictions by use O(entries of the least use). About 300 bytes per entry.
 */
export class NGramCache {
  private readonly children = new Map<number, number>(); // node · SPAN + token → node
  private readonly targets: number[] = [-1]; // per node, −1: no run ends here
  private readonly fans: number[] = [0]; // per node: its children
  private readonly free: number[] = [];
  private readonly pairs = new Map<number, Map<number, number>>();
  private readonly routes = new Map<number, Route>(); // by target, the one used longest ago first
  private readonly byHits = new Map<number, Set<number>>(); // hits → targets
  private readonly unreachable = new Set<number>();
  private clock = 0;
  lookups = 0;
  found = 0;
  evicted = 0;
  /** Insertions and removals. */
  changes = 0;

  constructor(readonly options: NGramCacheOptions) {}

  get size(): number {
    return this.routes.size;
  }

  /** The target's token for the longest run that begins at `from`, and how long it is; undefined: none does. */
  longest(tokens: ArrayLike<number>, from: number): { target: number; length: number } | undefined {
    let best: { target: number; length: number } | undefined;
    let node = ROOT;
    for (let length = 1; from + length <= tokens.length && length <= this.options.maxN; length++) {
      const next = this.children.get(node * SPAN + tokens[from + length - 1]);
      if (next === undefined) break;
      node = next;
      if (this.targets[node] >= 0) best = { target: this.targets[node], length };
    }
    return best;
  }

  /** The tokens with which runs of two begin. */
  firsts(): IterableIterator<number> {
    return this.pairs.keys();
  }

  /** Of the runs of two that begin with this token: the second one → the target's token. */
  pairsFrom(first: number): ReadonlyMap<number, number> | undefined {
    return this.pairs.get(first);
  }

  /** How a target's token is said. */
  route(target: number): Int32Array | undefined {
    return this.routes.get(target)?.tokens;
  }

  /** All of them, the one used longest ago first. */
  entries(): IterableIterator<Route> {
    return this.routes.values();
  }

  /** A run was used. */
  touch(target: number): void {
    const route = this.routes.get(target);
    if (!route) return;
    this.routes.delete(target);
    this.routes.set(target, route);
    route.used = ++this.clock;
    this.count(route, route.hits + 1);
  }

  /** No run says this token: nobody needs to look again. */
  markUnreachable(target: number): void {
    this.unreachable.add(target);
  }

  isUnreachable(target: number): boolean {
    return this.unreachable.has(target);
  }

  /** False when there is a route already, the run is too short or too long, or there is no room at all. */
  insert(target: number, tokens: Int32Array, hits = 1, used = ++this.clock): boolean {
    const { maxN, maxEntries } = this.options;
    if (tokens.length < 2 || tokens.length > maxN || maxEntries === 0 || this.routes.has(target)) return false;
    let node = ROOT;
    for (const token of tokens) {
      const key = node * SPAN + token;
      let next = this.children.get(key);
      if (next === undefined) {
        next = this.free.pop() ?? this.targets.length;
        this.targets[next] = -1;
        this.fans[next] = 0;
        this.children.set(key, next);
        this.fans[node]++;
      }
      node = next;
    }
    if (this.targets[node] >= 0) return false; // two target tokens of the same bytes: the first one stays
    this.targets[node] = target;
    this.changes++;
    if (tokens.length === 2) {
      const followers = this.pairs.get(tokens[0]) ?? new Map<number, number>();
      this.pairs.set(tokens[0], followers.set(tokens[1], target));
    }
    const route: Route = { target, tokens: tokens.slice(), hits: 0, used };
    this.clock = Math.max(this.clock, used);
    this.routes.set(target, route);
    this.count(route, hits);
    while (this.routes.size > maxEntries) this.remove(this.victim(target));
    return true;
  }

  clear(): void {
    this.children.clear();
    this.targets.length = this.fans.length = 1;
    this.fans[ROOT] = 0;
    this.free.length = 0;
    this.pairs.clear();
    this.routes.clear();
    this.byHits.clear();
    this.unreachable.clear();
    this.changes++;
    this.clock = this.lookups = this.found = this.evicted = 0;
  }

  private count(route: Route, hits: number): void {
    this.uncount(route);
    route.hits = hits;
    const others = this.byHits.get(hits);
    if (others) others.add(route.target);
    else this.byHits.set(hits, new Set([route.target]));
  }

  private uncount({ target, hits }: Route): void {
    const others = this.byHits.get(hits);
    others?.delete(target);
    if (others?.size === 0) this.byHits.delete(hits);
  }

  /** Who makes room for `newest`. */
  private victim(newest: number): Route {
    if (this.options.evict === 'lfu') {
      const least = Math.min(...this.byHits.keys());
      for (const target of this.byHits.get(least) ?? []) {
        if (target !== newest || this.routes.size === 1) return this.routes.get(target) as Route;
      }
    }
    return this.routes.values().next().value as Route;
  }

  private remove(route: Route): void {
    this.evicted++;
    this.changes++;
    this.routes.delete(route.target);
    this.uncount(route);
    const path = [ROOT];
    for (const token of route.tokens) path.push(this.children.get(path[path.length - 1] * SPAN + token) as number);
    this.targets[path[path.length - 1]] = -1;
    if (route.tokens.length === 2) {
      const followers = this.pairs.get(route.tokens[0]);
      followers?.delete(route.tokens[1]);
      if (followers?.size === 0) this.pairs.delete(route.tokens[0]);
    }
    for (
      let depth = path.length - 1;
      depth > 0 && this.fans[path[depth]] === 0 && this.targets[path[depth]] < 0;
      depth--
    ) {
      this.children.delete(path[depth - 1] * SPAN + route.tokens[depth - 1]);
      this.fans[path[depth - 1]]--;
      this.free.push(path[depth]);
    }
  }
}
