// Caches: ARC against a slow version in the words of the paper, its invariants, scans; what the others keep.
import { ArcCache } from '../../../lib/experts/simulate/arc.js';
import { replacements, makeCache } from '../../../lib/experts/simulate/caches.js';
import { mulberry32 } from '../../../lib/experts/simulate/synthetic.js';

/** Megiddo and Modha's figure, case by case, with arrays whose first entry is the one used longest ago. */
class SlowArc {
  t1: number[] = [];
  t2: number[] = [];
  b1: number[] = [];
  b2: number[] = [];
  p = 0;

  constructor(private readonly c: number) {}

  private replace(inB2: boolean): void {
    if (this.t1.length >= 1 && ((inB2 && this.t1.length === this.p) || this.t1.length > this.p)) {
      this.b1.push(this.t1.shift() as number);
    } else {
      this.b2.push(this.t2.shift() as number);
    }
  }

  request(x: number): void {
    const { c } = this;
    const without = (list: number[]): number[] => list.filter((y) => y !== x);
    if (this.t1.includes(x) || this.t2.includes(x)) {
      this.t1 = without(this.t1);
      this.t2 = [...without(this.t2), x];
    } else if (this.b1.includes(x)) {
      this.p = Math.min(c, this.p + Math.max(this.b2.length / this.b1.length, 1));
      this.replace(false);
      this.b1 = without(this.b1);
      this.t2.push(x);
    } else if (this.b2.includes(x)) {
      this.p = Math.max(0, this.p - Math.max(this.b1.length / this.b2.length, 1));
      this.replace(true);
      this.b2 = without(this.b2);
      this.t2.push(x);
    } else {
      const l1 = this.t1.length + this.b1.length;
      const all = l1 + this.t2.length + this.b2.length;
      if (l1 === c) {
        if (this.t1.length < c) {
          this.b1.shift();
          this.replace(false);
        } else {
          this.t1.shift();
        }
      } else if (l1 < c && all >= c) {
        if (all === 2 * c) this.b2.shift();
        this.replace(false);
      }
      this.t1.push(x);
    }
  }
}

test.each([1, 2, 5, 16])('ARC of %d is the slow one over 100000 uses, and keeps its invariants', (capacity) => {
  const random = mulberry32(capacity);
  const fast = new ArcCache(capacity);
  const slow = new SlowArc(capacity);
  for (let use = 0; use < 100_000; use++) {
    // Scans, a small set that is used again and again, and everything.
    const phase = Math.floor(use / 500) % 3;
    const key = phase === 0 ? use % 60 : Math.floor(random() ** (phase + 1) * 60);
    fast.use(key);
    slow.request(key);
    const { t1, t2, b1, b2, target } = fast.sizes;
    if (t1 + t2 > capacity || t1 + b1 > capacity || t1 + t2 + b1 + b2 > 2 * capacity) {
      throw new Error(`use ${use}: ${JSON.stringify(fast.sizes)}`);
    }
    if (use % 97 === 0) {
      expect(fast.keys()).toEqual([...slow.t1, ...slow.t2]);
      expect([b1, b2, target]).toEqual([slow.b1.length, slow.b2.length, slow.p]);
    }
  }
});

test('a scan takes nothing from ARC that was used twice, and everything from LRU', () => {
  const hot = [0, 1, 2, 3];
  const kept = (kind: 'arc' | 'lru'): number => {
    const cache = makeCache(kind, 8, []);
    for (const key of [...hot, ...hot]) cache.use(key);
    for (let key = 100; key < 200; key++) cache.use(key);
    return hot.filter((key) => cache.has(key)).length;
  };
  expect(kept('arc')).toBe(4);
  expect(kept('lru')).toBe(0);
});

test('LRU drops the one used longest ago, LFU the one used least, a fixed one nothing', () => {
  const lru = makeCache('lru', 2, []);
  for (const key of [1, 2, 1, 3]) lru.use(key);
  expect(lru.keys().sort()).toEqual([1, 3]);
  const lfu = makeCache('lfu', 2, []);
  for (const key of [1, 1, 2, 3]) lfu.use(key);
  expect(lfu.keys().sort()).toEqual([1, 3]);
  const fixed = makeCache('fixed', 2, [7, 8, 9]);
  fixed.use(1);
  expect(fixed.keys()).toEqual([7, 8]);
});

test('LFU forgets: what was popular long ago goes before what is used now', () => {
  const cache = makeCache('lfu', 2, []);
  for (let use = 0; use < 50; use++) cache.use(1);
  for (let use = 0; use < 400; use++) cache.use(2 + (use % 2));
  expect(cache.keys().sort()).toEqual([2, 3]);
});

test.each(replacements)(
  '%s: begins with what it is given, never holds too much, holds nothing without room',
  (kind) => {
    const random = mulberry32(3);
    const cache = makeCache(kind, 4, [9, 8, 7, 6, 5]);
    expect(cache.keys().sort()).toEqual([6, 7, 8, 9]);
    const none = makeCache(kind, 0, [1, 2]);
    for (let use = 0; use < 2000; use++) {
      const key = Math.floor(random() * 30);
      cache.use(key);
      none.use(key);
      if (kind !== 'fixed' && !cache.has(key)) throw new Error(`${key} was used and is not there`);
      if (cache.keys().length !== 4) throw new Error(`holds ${cache.keys().length}`);
    }
    expect(none.keys()).toEqual([]);
  },
);
