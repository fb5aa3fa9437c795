// Which experts of a layer stay: least recently used, least often used, a fixed choice, or ARC.
import { ArcCache } from './arc.js';

export interface ExpertCache {
  readonly capacity: number;
  has(key: number): boolean;
  /** A use, whether it is there or not; afterwards it is, unless the cache is fixed or has no room at all. */
  use(key: number): void;
  keys(): number[];
}

export const replacements = ['arc', 'lru', 'lfu', 'fixed'] as const;
export type Replacement = (typeof replacements)[number];

/** A cache that holds `first`, as far as there is room. */
export function makeCache(kind: Replacement, capacity: number, first: readonly number[]): ExpertCache {
  const held = first.slice(0, capacity);
  if (kind === 'fixed') return new FixedCache(capacity, held);
  const cache =
    kind === 'arc' ? new ArcCache(capacity) : kind === 'lru' ? new LruCache(capacity) : new LfuCache(capacity);
  // The most popular are used last, so that they leave last.
  for (const key of [...held].reverse()) cache.use(key);
  return cache;
}

class FixedCache implements ExpertCache {
  private readonly held: Set<number>;

  constructor(
    readonly capacity: number,
    held: readonly number[],
  ) {
    this.held = new Set(held);
  }

  has(key: number): boolean {
    return this.held.has(key);
  }

  use(): void {
    // Whatever is used, it stays as it is.
  }

  keys(): number[] {
    return [...this.held];
  }
}

class LruCache implements ExpertCache {
  private readonly held = new Set<number>(); // the one used longest ago first

  constructor(readonly capacity: number) {}

  has(key: number): boolean {
    return this.held.has(key);
  }

  use(key: number): void {
    if (this.capacity === 0) return;
    if (!this.held.delete(key) && this.held.size === this.capacity) {
      const [oldest] = this.held;
      this.held.delete(oldest);
    }
    this.held.add(key);
  }

  keys(): number[] {
    return [...this.held];
  }
}

/** Every use counts one, and each later use of the layer makes all older ones count a little less. */
class LfuCache implements ExpertCache {
  private readonly scores = new Map<number, number>();
  private readonly held = new Set<number>();

  constructor(
    readonly capacity: number,
    private readonly decay = 0.99,
  ) {}

  has(key: number): boolean {
    return this.held.has(key);
  }

  use(key: number): void {
    if (this.capacity === 0) return;
    for (const [other, score] of this.scores) this.scores.set(other, score * this.decay);
    this.scores.set(key, (this.scores.get(key) ?? 0) + 1);
    if (this.held.has(key)) return;
    if (this.held.size === this.capacity) {
      let least: number | undefined;
      for (const other of this.held) {
        if (least === undefined || (this.scores.get(other) ?? 0) < (this.scores.get(least) ?? 0)) least = other;
      }
      if (least !== undefined) this.held.delete(least);
    }
    this.held.add(key);
  }

  keys(): number[] {
    return [...this.held];
  }
}
