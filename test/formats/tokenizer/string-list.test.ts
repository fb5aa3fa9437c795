// Strings as they lie in a file, each behind its length: what native code finds in them, and what it refuses.
import { Vocabulary } from '../../../lib/formats/tokenizer/vocabulary.js';
import { stringTable } from '../../../lib/formats/gguf.js';
import { native, nativeCall, type NativeTokenizerOptions } from '../../../lib/native.js';
import { thrown } from '../scratch.js';
import { bpeSource, random, trainBpe } from './toys.js';

const listOf = (strings: readonly Uint8Array[]): Buffer =>
  Buffer.concat(
    strings.flatMap((bytes) => {
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(bytes.length));
      return [length, bytes];
    }),
  );
const next = random(11);
const below = (limit: number): number => Math.floor(next() * limit);
const someBytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => below(256));
const someStrings = (count: number, longest = 40): Uint8Array[] =>
  Array.from({ length: count }, () => someBytes(below(longest)));

/** How many strings are whole and not too long, and where the next one begins. */
function skip(list: Buffer, position: number, count: number, limit: number): [number, number] {
  let done = 0;
  for (; done < count && position + 8 <= list.length; done++) {
    const length = list.readBigUInt64LE(position);
    if (length > BigInt(limit) || length > BigInt(list.length - position - 8)) break;
    position += 8 + Number(length);
  }
  return [done, position];
}

test('skipStrings() stops where a string is cut off, too long or a lie', () => {
  const moved = new Float64Array(2);
  for (let round = 0; round < 300; round++) {
    const whole = listOf(someStrings(below(30)));
    const list = whole.subarray(0, below(whole.length + 1));
    if (list.length > 8 && round % 3 === 0) list[below(list.length)] = 255;
    const [count, limit] = [below(40), below(60)];
    native().skipStrings(list, 0, count, limit, moved);
    expect([...moved]).toEqual(skip(list, 0, count, limit));
  }
  const list = listOf([someBytes(3)]);
  for (const position of [4, 11, 12, 2 ** 40, -1]) {
    native().skipStrings(list, position, 1, 100, moved);
    expect([...moved].slice(0, 1)).toEqual([0]);
  }
  expect(() => native().skipStrings(list, 0, 1, 100, new Float64Array(1))).toThrow(/room/);
});

test('gatherStrings() takes exactly what fits', () => {
  for (let round = 0; round < 100; round++) {
    const strings = someStrings(below(40));
    const list = listOf(strings);
    const bytes = new Uint8Array(list.length - 8 * strings.length);
    const offsets = new Uint32Array(strings.length + 1).fill(7);
    native().gatherStrings(list, bytes, offsets);
    expect(Buffer.from(bytes)).toEqual(Buffer.concat(strings));
    expect(strings.map((_, i) => offsets[i + 1] - offsets[i])).toEqual(strings.map(({ length }) => length));
    expect(offsets[0]).toBe(0);
    expect(() => native().gatherStrings(list, new Uint8Array(bytes.length + 1), offsets)).toThrow(/room/);
    expect(() => native().gatherStrings(list, bytes, new Uint32Array(offsets.length + 1))).toThrow(/room/);
    if (bytes.length > 0) expect(() => native().gatherStrings(list, bytes.subarray(1), offsets)).toThrow(/room/);
  }
  expect(() => native().gatherStrings(Buffer.alloc(0), Buffer.alloc(0), new Uint32Array(0))).toThrow(/room/);
});

test('findFew() finds the first of equal texts', () => {
  const texts = ['a', 'b', '', 'b', '</s>', '<s>', '</s>', 'x'.repeat(255), 'x'.repeat(256), '\u2581'];
  const types = [1, 1, 1, 3, 1, 3, 4, 1, 1, 6];
  const vocabulary = new Vocabulary(stringTable(texts), () => Int32Array.from(types));
  const wanted = [...texts, 'c', 'absent'];
  const found = vocabulary.findFew(wanted);
  const first = new Map(texts.filter((text) => text !== '' && text.length < 256).map((t) => [t, texts.indexOf(t)]));
  expect(found).toEqual(first);
  expect(vocabulary.findFew(wanted, true)).toEqual(new Map([['b', 3], ['<s>', 5], ['</s>', 6], ['\u2581', 9]])); // prettier-ignore
  expect([...vocabulary.ofTypes([4, 3, 6])]).toEqual([3, 5, 6, 9]);
});

const source = bpeSource(trainBpe('the lower the newer the widest internationalisation of internationalisations ', 60));
const tokens = Array.from({ length: source.tokens.length }, (_, id) => Buffer.from(source.tokens.get(id)));
const mergesOf = (): Buffer[] =>
  Array.from({ length: source.merges?.length ?? 0 }, (_, i) => Buffer.from(source.merges?.get(i) ?? ''));

function encodeWith(options: Partial<NativeTokenizerOptions>, text: string): number[] {
  const types = new Int32Array(tokens.length).fill(1);
  const engine = nativeCall(
    () => new (native().Tokenizer)({ kind: 'byte-pair', bytes: listOf(tokens), types, separator: 0x20, alphabet: true, ...options }), // prettier-ignore
  );
  const bytes = Buffer.from(text);
  const out = new Int32Array(engine.encode(bytes, Int32Array.of(-2, bytes.length), false));
  engine.take(out);
  return [...out];
}

test('a vocabulary and merges as they lie in a file are what they are with offsets', () => {
  const merges = mergesOf();
  // Halves that no token spells, halves of more than 12 bytes, and lines that are no merges.
  const odd = ['strangers ofmerges', 'internationalisation internationalisation', 'nothing', ' ', 'x', 'a ', ' b', ''];
  for (const text of odd) merges.splice(below(merges.length + 1), 0, Buffer.from(text));
  const flat = stringTable(merges);
  const plain = stringTable(tokens);
  for (const text of ['the newest international lower', 'internationalisationinternationalisation', 'strangersof']) {
    const expected = encodeWith(
      { bytes: plain.bytes, offsets: plain.offsets, mergeBytes: flat.bytes, mergeOffsets: flat.offsets },
      text,
    );
    expect(expected.length).toBeLessThan(text.length);
    const listed = encodeWith({ mergeBytes: listOf(merges), mergeCount: merges.length }, text);
    expect(listed).toEqual(expected);
    expect(Buffer.concat(expected.map((id) => tokens[id])).toString()).toBe(text.replaceAll(' ', '\u0120'));
  }
});

test('a vocabulary or merges that lie about their strings are refused', () => {
  const merges = listOf(mergesOf());
  const mergeCount = mergesOf().length;
  const refuse = (options: Partial<NativeTokenizerOptions>): void =>
    expect(thrown(() => encodeWith({ mergeBytes: merges, mergeCount, ...options }, 'the'))).toMatchObject({
      code: 'FORMAT_INVALID',
    });
  for (const mergeCount of [-1, 2 ** 28, 2 ** 40, mergesOf().length + 1]) {
    refuse({ mergeCount });
  }
  refuse({ mergeBytes: merges.subarray(0, -1) });
  const list = listOf(tokens);
  refuse({ bytes: list.subarray(0, -1) });
  refuse({ bytes: Buffer.concat([list, Buffer.alloc(1)]) });
  refuse({ types: new Int32Array(tokens.length + 1).fill(1) });
  refuse({ types: new Int32Array(tokens.length - 1).fill(1) });
  for (let round = 0; round < 100; round++) {
    const damaged = Buffer.from(list);
    damaged[below(damaged.length)] ^= 1 << below(8);
    const hurt = Buffer.from(merges);
    hurt[below(hurt.length)] ^= 1 << below(8);
    try {
      encodeWith({ bytes: damaged, mergeBytes: hurt, mergeCount }, 'the newest'); // works, or is refused
    } catch (error) {
      expect(error).toMatchObject({ code: 'FORMAT_INVALID' });
    }
  }
});
