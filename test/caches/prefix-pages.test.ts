// Published pages against the plainest model of them: lists and maps of strings, that say what every call should do.
import fc from 'fast-check';
import { VivaceError } from '../../lib/errors.js';
import { native, nativeCall } from '../../lib/native.js';
import type { NativeKvCache } from '../../lib/native.js';
import { dtypes } from '../../lib/program/dtype.js';

const pageSize = 4;

const cache = (maxPages: number, hashBits: number): NativeKvCache =>
  new (native().KvCache)({
    layers: 1,
    kvHeads: 1,
    keyDim: 1,
    valueDim: 1,
    pageSize,
    keyType: dtypes.F32.id,
    valueType: dtypes.F32.id,
    maxPages,
    hashBits,
  });

/** A cell depends on its token and on all before it, as keys and values do. */
function cellsOf(tokens: readonly number[], begin: number, salt: string): Uint8Array {
  const cells = new Int32Array(2 * (tokens.length - begin));
  let state = salt.length;
  tokens.forEach((token, index) => {
    state = (Math.imul(state ^ token, 0x9e3779b1) + index) | 0;
    if (index >= begin) cells.fill(state, 2 * (index - begin), 2 * (index - begin) + 2);
  });
  return new Uint8Array(cells.buffer);
}

/** A page in the model: what text it ends, if it has been published. */
interface Page {
  path?: string;
}

interface Text {
  tokens: number[];
  pages: Page[];
  salt: string;
  withheld: number;
}

/** What the cache should do, said in the slowest way. */
class Plain {
  readonly texts = new Map<number, Text>();
  readonly published = new Map<string, Page>();
  idle: Page[] = []; // the one that goes first in front
  evictions = 0;

  constructor(
    readonly maxPages: number,
    readonly mostIdle: number,
  ) {}

  get used(): Set<Page> {
    return new Set([...this.texts.values()].flatMap(({ pages }) => pages));
  }

  pathOf = ({ salt }: Text, tokens: readonly number[], page: number): string =>
    `${salt}:${tokens.slice(0, (page + 1) * pageSize).join()},`;

  drop(pages: Page[]): void {
    for (const page of pages.reverse()) {
      if (this.used.has(page) || page.path === undefined) continue;
      this.idle.push(page);
      if (this.idle.length > this.mostIdle) this.evict(this.idle[0]);
    }
  }

  evict({ path = '' }: Page): void {
    for (const [other, page] of [...this.published]) {
      if (!other.startsWith(path)) continue;
      this.published.delete(other);
      this.evictions++;
      delete page.path;
      this.idle = this.idle.filter((one) => one !== page);
    }
  }

  take(text: Text, at: number): void {
    if (this.used.size + this.idle.length === this.maxPages) this.evict(this.idle[0]);
    text.pages[at] = {};
  }

  truncate(text: Text, length: number): void {
    text.tokens.length = length;
    if (length <= text.withheld) text.withheld = Infinity;
    this.drop(text.pages.splice(Math.ceil(length / pageSize)));
  }

  /** False when there is no room. */
  append(text: Text, tokens: readonly number[]): boolean {
    const at = Math.floor(text.tokens.length / pageSize);
    const wanted = Math.ceil((text.tokens.length + tokens.length) / pageSize);
    const written = text.pages[at] as Page | undefined;
    const isShared = [...this.texts.values()].filter(({ pages }) => written && pages.includes(written)).length > 1;
    const free = this.maxPages - this.used.size - Math.max(0, wanted - text.pages.length);
    if (free < Number(isShared)) return false;
    if (written && (isShared || written.path !== undefined)) {
      if (free < 1) this.evict(written);
      else {
        this.take(text, at);
        this.drop([written]);
      }
    }
    while (text.pages.length < wanted) this.take(text, text.pages.length);
    text.tokens.push(...tokens);
    return true;
  }

  /** How many pages of the tokens are there. */
  find(text: Text, tokens: readonly number[]): Page[] {
    const found: Page[] = [];
    for (let page = 0; (page + 1) * pageSize <= tokens.length; page++) {
      const known = this.published.get(this.pathOf(text, tokens, page));
      if (!known) break;
      found.push(known);
    }
    return found;
  }

  share(text: Text, tokens: readonly number[]): void {
    const own = Math.floor(text.tokens.length / pageSize);
    const found = this.find(text, tokens);
    if (found.length <= own) return;
    // What it gives back goes after it has what it takes.
    const gone = text.pages.splice(own);
    text.pages.push(...found.slice(own));
    this.idle = this.idle.filter((page) => !text.pages.includes(page));
    if (own * pageSize <= text.withheld) text.withheld = Infinity;
    text.tokens = tokens.slice(0, found.length * pageSize);
    this.drop(gone);
  }

  publish(text: Text): void {
    const full = Math.floor(Math.min(text.tokens.length, text.withheld) / pageSize);
    const known = this.find(text, text.tokens.slice(0, full * pageSize));
    for (let page = known.length; page < full; page++) {
      const path = this.pathOf(text, text.tokens, page);
      text.pages[page].path = path;
      this.published.set(path, text.pages[page]);
    }
    const fresh = known.reverse().filter((page) => this.idle.includes(page));
    this.idle = [...this.idle.filter((page) => !fresh.includes(page)), ...fresh];
  }
}

const pick = fc.nat();
/** Runs of one token, so that texts often begin the same. */
const some = fc
  .tuple(fc.integer({ min: 0, max: 13 }), fc.constantFrom(5, 5, 5, 6))
  .map(([count, token]) => Array<number>(count).fill(token));
const publishes = fc.boolean();
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('begin'), salt: fc.constantFrom('', '', 'a'), tokens: some, publishes }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('say'), pick, tokens: some, publishes }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restore'), pick, tokens: some, publishes }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('fork'), pick }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('truncate'), pick, part: fc.double({ min: 0, max: 1, noNaN: true }) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('release'), pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('relieve', 'forget') }) },
);
type Step = Readonly<Partial<{ pick: number; tokens: number[]; publishes: boolean; part: number; salt: string }>> & {
  readonly kind: string;
};

/** Does a step in both; 1 when it found something. */
function act(kv: NativeKvCache, plain: Plain, step: Step): number {
  const { kind, pick = 0, tokens = [], salt = '' } = step;
  if (kind === 'relieve') {
    expect(kv.dropIdle()).toBe(plain.idle.length);
    while (plain.idle.length > 0) plain.evict(plain.idle[0]);
    return 0;
  }
  if (kind === 'forget') {
    kv.forget();
    for (const page of plain.published.values()) delete page.path;
    plain.published.clear();
    plain.idle = [];
    return 0;
  }
  if (kind === 'begin') plain.texts.set(kv.create(), { tokens: [], pages: [], salt, withheld: Infinity });
  const ids = [...plain.texts.keys()];
  if (ids.length === 0) return 0;
  const id = kind === 'begin' ? ids[ids.length - 1] : ids[pick % ids.length];
  const text = plain.texts.get(id) as Text;
  if (kind === 'fork') {
    plain.texts.set(kv.fork(id), { ...text, tokens: [...text.tokens], pages: [...text.pages] });
  } else if (kind === 'truncate') {
    const length = Math.floor(text.tokens.length * (step.part ?? 0));
    kv.truncate(id, length);
    plain.truncate(text, length);
  } else if (kind === 'release') {
    kv.release(id);
    plain.texts.delete(id);
    plain.drop(text.pages);
  } else {
    const whole = [...text.tokens, ...tokens];
    const before = text.tokens.length;
    if (kind === 'restore') {
      kv.withhold(id, before);
      text.withheld = Math.min(text.withheld, before);
    } else {
      const length = kv.share(id, Int32Array.from(whole), text.salt);
      plain.share(text, whole);
      expect(length).toBe(text.tokens.length);
    }
    const begin = text.tokens.length;
    const write = (): void => kv.writeCells(id, whole.length - begin, cellsOf(whole, begin, text.salt));
    if (plain.append(text, whole.slice(begin))) write();
    else expect(() => nativeCall(write)).toThrow(VivaceError);
    if (step.publishes) {
      kv.publish(id, Int32Array.from(text.tokens), text.salt);
      plain.publish(text);
    }
    return Number(begin > before);
  }
  return 0;
}

test.each([
  ['64 bits, room for all', 64, 1000, 1000],
  ['hashes of 4 bits, room for all', 4, 1000, 1000],
  ['hashes of 4 bits, few idle pages', 4, 1000, 5],
  ['64 bits, few pages', 64, 12, 1000],
  ['hashes of 1 bit, few of both', 1, 12, 4],
])('any history does what it should: %s', (_, hashBits, maxPages, mostIdle) => {
  let [hits, evictions] = [0, 0];
  const property = fc.property(fc.array<Step>(step, { minLength: 20, maxLength: 80, size: 'max' }), (steps) => {
    const kv = cache(maxPages, hashBits);
    kv.keepIdle(mostIdle);
    const plain = new Plain(maxPages, mostIdle);
    for (const action of steps) {
      hits += act(kv, plain, action);
      expect(kv.sizes()).toMatchObject({
        pagesUsed: plain.used.size,
        pagesIdle: plain.idle.length,
        pagesPublished: plain.published.size,
        evictions: plain.evictions,
      });
    }
    for (const [id, { tokens, salt }] of plain.texts) {
      const read = new Uint8Array(8 * tokens.length);
      kv.readCells(id, 0, tokens.length, read);
      expect(Buffer.from(read).equals(cellsOf(tokens, 0, salt))).toBe(true);
      kv.release(id);
    }
    kv.forget();
    expect(kv.sizes()).toMatchObject({ pagesUsed: 0, pagesIdle: 0, pagesPublished: 0 });
    evictions += plain.evictions;
    kv.close();
  });
  fc.assert(property, { numRuns: 100 });
  expect(hits).toBeGreaterThan(50);
  if (mostIdle < 1000) expect(evictions).toBeGreaterThan(50);
});

test('texts whose hashes are the same are told apart, page by page and by what is before', () => {
  const kv = cache(1000, 1);
  kv.keepIdle(1000);
  const texts = Array.from({ length: 32 }, (_, text) =>
    Int32Array.from({ length: 2 * pageSize }, (_, index) => (index < pageSize ? text : 7)),
  );
  for (const text of texts) {
    const id = kv.create();
    kv.writeCells(id, text.length, cellsOf([...text], 0, ''));
    kv.publish(id, text, '');
    kv.release(id);
  }
  expect(kv.sizes()).toMatchObject({ pagesUsed: 0, pagesIdle: 64, pagesPublished: 64 });
  for (const text of texts) {
    const id = kv.create();
    expect(kv.share(id, text, '')).toBe(text.length);
    const read = new Uint8Array(8 * text.length);
    kv.readCells(id, 0, text.length, read);
    expect(Buffer.from(read).equals(cellsOf([...text], 0, ''))).toBe(true);
  }
  const stranger = kv.create();
  expect(kv.share(stranger, Int32Array.of(99, 99, 99, 99), '')).toBe(0);
  expect(kv.share(stranger, texts[0], 'other')).toBe(0);
  expect(kv.share(stranger, texts[0].subarray(0, pageSize - 1), '')).toBe(0);
  kv.close();
});

test('the last pages of a text go first, and a text that was asked for again goes last', () => {
  const kv = cache(8, 64);
  kv.keepIdle(8);
  const say = (tokens: number[]): number => {
    const id = kv.create();
    const known = kv.share(id, Int32Array.from(tokens), '');
    kv.writeCells(id, tokens.length - known, cellsOf(tokens, known, ''));
    kv.publish(id, Int32Array.from(tokens), '');
    kv.release(id);
    return known;
  };
  const text = (first: number, pages: number): number[] =>
    Array.from({ length: pages * pageSize }, (_, index) => first + index);
  expect([say(text(0, 3)), say(text(100, 3)), say(text(0, 3))]).toEqual([0, 0, 12]);
  // Two pages of eight are free; this takes the last two of the second text.
  expect(say(text(200, 4))).toBe(0);
  expect(kv.sizes()).toMatchObject({ pagesIdle: 8, evictions: 2 });
  expect([say(text(100, 1)), say(text(0, 3)), say(text(200, 4))]).toEqual([4, 12, 16]);
  kv.close();
});

test('pages that a sequence gives back do not drive out those that it takes', () => {
  const kv = cache(8, 64);
  kv.keepIdle(1);
  const [found, own] = [Int32Array.of(1, 2, 3, 4), Int32Array.of(5, 6, 7, 8)];
  const write = (tokens: Int32Array): number => {
    const sequence = kv.create();
    nativeCall(() => kv.writeCells(sequence, 4, cellsOf([...tokens], 0, '')));
    kv.publish(sequence, tokens, '');
    return sequence;
  };
  kv.release(write(found));
  const taker = write(own);
  kv.truncate(taker, 2); // into a page that is published and goes idle, where there is room for one
  expect(kv.share(taker, found, '')).toBe(4);
  const cells = new Uint8Array(4 * 8);
  nativeCall(() => kv.readCells(taker, 0, 4, cells));
  expect(cells).toEqual(cellsOf([...found], 0, ''));
  kv.close();
});
