// ARC (Megiddo and Modha, 2003): a cache that learns whether what was used lately or what is used often is worth keeping.
import type { ExpertCache } from './caches.js';

/** Keys in order, the one used longest ago first. */
type Ordered = Map<number, true>;

/**
 * T1 holds keys seen once, T2 keys seen again; B1 and B2 remember what left them. `target` is how large T1 should be: a key that
 * comes back out of B1 says that it was too small, one out of B2 that it was too large.
 */
export class ArcCache implements ExpertCache {
  private readonly t1: Ordered = new Map();
  private readonly t2: Ordered = new Map();
  private readonly b1: Ordered = new Map();
  private readonly b2: Ordered = new Map();
  private target = 0;

  constructor(readonly capacity: number) {}

  has(key: number): boolean {
    return this.t1.has(key) || this.t2.has(key);
  }

  keys(): number[] {
    return [...this.t1.keys(), ...this.t2.keys()];
  }

  /** Sizes, for checks. */
  get sizes(): { t1: number; t2: number; b1: number; b2: number; target: number } {
    return { t1: this.t1.size, t2: this.t2.size, b1: this.b1.size, b2: this.b2.size, target: this.target };
  }

  use(key: number): void {
    const { t1, t2, b1, b2, capacity } = this;
    if (capacity === 0) return;
    if (t1.delete(key) || t2.delete(key)) {
      t2.set(key, true);
      return;
    }
    if (b1.has(key)) {
      this.target = Math.min(capacity, this.target + Math.max(1, b2.size / b1.size));
      this.replace(false);
      b1.delete(key);
      t2.set(key, true);
      return;
    }
    if (b2.has(key)) {
      this.target = Math.max(0, this.target - Math.max(1, b1.size / b2.size));
      this.replace(true);
      b2.delete(key);
      t2.set(key, true);
      return;
    }
    if (t1.size + b1.size === capacity) {
      if (t1.size < capacity) {
        removeFirst(b1);
        this.replace(false);
      } else {
        removeFirst(t1);
      }
    } else if (t1.size + t2.size + b1.size + b2.size >= capacity) {
      if (t1.size + t2.size + b1.size + b2.size === 2 * capacity) removeFirst(b2);
      this.replace(false);
    }
    t1.set(key, true);
  }

  /** Makes room for one key, if there is none. */
  private replace(cameFromB2: boolean): void {
    const { t1, t2, b1, b2, target, capacity } = this;
    if (t1.size + t2.size < capacity) return;
    if (t1.size > 0 && (t1.size > target || (cameFromB2 && t1.size === target))) {
      b1.set(removeFirst(t1), true);
    } else {
      b2.set(removeFirst(t2), true);
    }
  }
}

function removeFirst(keys: Ordered): number {
  const [first] = keys.keys();
  keys.delete(first);
  return first;
}
