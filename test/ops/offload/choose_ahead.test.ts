// choose_ahead against attention, over caches whose layer lies in a file: what the true queries of a layer fetch ahead is what
// the layer then chooses, and nothing that is fetched, or not, changes a bit.
import { tmpdir } from 'node:os';
import { native, type NativeKvCache, type NativeOffloadStatistics } from '../../../lib/native.js';
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { dtypes, type DType } from '../../../lib/program/dtype.js';
import type { KvLabels } from '../../../lib/program/kv-policy.js';
import { NativeProgram } from '../../../lib/program/native-program.js';
import { variants } from '../executors.js';
import { random } from '../op-case.js';

const heads = 4;
const kvHeads = 2;
const dim = 32;
const pageSize = 8;
const chosen = 20;

const labels = (grouped: boolean): KvLabels => ({
  channels: 8,
  bits: 4,
  sets: kvHeads,
  table: Int32Array.from({ length: 2 * kvHeads * 8 }, (_, index) => (3 * index) % dim),
  sparse: Uint8Array.of(0, 1),
  tokens: chosen,
  share: 0,
  threshold: 0,
  recent: 0,
  sinks: 0,
  grouped,
});

/** Attention of layer 1, for queries that `guess` has foretold, if there is one. */
class Layer {
  readonly kv: NativeKvCache;
  private readonly compiled: NativeProgram;

  constructor(type: DType, policy: KvLabels, place: object, offload?: object) {
    const builder = new ProgramBuilder('layer', () => undefined);
    const [q, guess, k, v] = ['q', 'guess', 'k', 'v'].map((name, index) =>
      builder.input(name, 'F32', 'rows', (index < 2 ? heads : kvHeads) * dim),
    );
    builder.kvWrite(k, v, 1);
    builder.chooseAhead(guess, { layer: 1, heads });
    const y = builder.attention(q, { layer: 1, heads, valueDim: dim, scale: 0.2 });
    const shape = { layers: 2, kvHeads, keyDim: dim, valueDim: dim };
    this.compiled = new NativeProgram(builder.finish({ y }, shape), () => new Uint8Array(), place);
    this.kv = new (native().KvCache)({
      ...shape,
      pageSize,
      keyType: dtypes[type].id,
      valueType: dtypes[type].id,
      maxPages: 64,
      policy: { patterns: new Int32Array(0), labels: policy },
      poison: true,
      ...(offload ? { offload: { ...base, ...offload } } : {}),
    });
  }

  run(sequence: number, count: number, name: string, guess = name, output = true): Float32Array {
    const rows = (label: string, width: number): Float32Array => random(label, count * width, 2);
    const before = this.kv.length(sequence);
    const out = new Float32Array(count * heads * dim).fill(NaN);
    const inputs = {
      q: rows(`${name} q`, heads * dim),
      guess: rows(`${guess} q`, heads * dim),
      k: rows(`${name} k`, kvHeads * dim),
      v: rows(`${name} v`, kvHeads * dim),
    };
    this.compiled.runSync(
      inputs,
      {
        tokens: new Int32Array(count),
        positions: Int32Array.from({ length: count }, (_, i) => before + i),
        sequences: new Int32Array(count).fill(sequence),
        outputRows: output ? Int32Array.from({ length: count }, (_, i) => i) : new Int32Array(0),
        kv: this.kv,
      },
      { y: out },
    );
    return out;
  }

  close(): void {
    this.compiled.dispose();
    this.kv.close();
  }
}

const base = { memory: 2 ** 20, folder: tmpdir(), ahead: true, threads: 2, bytesPerSecond: 0, delayUs: 0 };

function since(layer: Layer, before: NativeOffloadStatistics): NativeOffloadStatistics {
  const now = layer.kv.offloaded() as NativeOffloadStatistics;
  const names = Object.keys(now) as (keyof NativeOffloadStatistics)[];
  return Object.fromEntries(names.map((name) => [name, now[name] - before[name]])) as never;
}

describe.each(variants())('$isa, $threads threads', (place) => {
  test.each(['F32', 'F16', 'Q8_0', 'Q4_0'] as const)('%s: the true queries fetch what is chosen', (type) => {
    for (const grouped of [false, true]) {
      const [plain, filed] = [undefined, {}].map((offload) => new Layer(type, labels(grouped), place, offload));
      const sequences = [plain, filed].map(({ kv }) => kv.create());
      const text = [plain, filed].map((layer, i) => layer.run(sequences[i], 101, 'text', 'text', false));
      expect(text[1]).toEqual(text[0]);
      for (const [name, guess] of [
        ['one', 'one'],
        ['two', 'one'],
        ['three', 'three'],
      ]) {
        const before = filed.kv.offloaded() as NativeOffloadStatistics;
        const [wanted, found] = [plain, filed].map((layer, i) => layer.run(sequences[i], 1, name, guess));
        expect(found.some(Number.isNaN)).toBe(false);
        expect(found).toEqual(wanted);
        const { resident, kept, foreseen, missed, guessedOf, guessed, bytesRead } = since(filed, before);
        const lists = grouped ? kvHeads : heads;
        expect(resident + kept + foreseen + missed).toBe(lists * chosen);
        expect(guessedOf).toBe(kept + foreseen + missed);
        if (guess === name) expect([guessed, missed]).toEqual([guessedOf, 0]);
        else expect(missed).toBeGreaterThan(0);
        expect(bytesRead).toBeGreaterThan(0);
      }
      for (const layer of [plain, filed]) layer.close();
    }
  });
});

test('drafts, a cache that is too small for what rows choose, late reads and wrong guesses change nothing', () => {
  const policy = labels(false);
  const least = { memory: 2 * 512 * 128 }; // of rows for two threads
  const plain = new Layer('F16', policy, { threads: 2 });
  const others = [least, { ...least, delayUs: 200, seed: 3 }, { ...least, ahead: false }, { bytesPerSecond: 2e7 }].map(
    (offload) => new Layer('F16', policy, { threads: 2 }, offload),
  );
  const all = [plain, ...others].map((layer) => ({ layer, sequence: layer.kv.create() }));
  for (const [index, [count, output]] of (
    [
      [97, false],
      [1, true],
      [7, true],
      [40, true],
      [3, false],
      [1, true],
    ] as const
  ).entries()) {
    const guess = index % 2 === 0 ? `${index}` : 'wrong';
    const [wanted, ...found] = all.map(({ layer, sequence }) => layer.run(sequence, count, `${index}`, guess, output));
    for (const one of found) expect(one).toEqual(wanted);
  }
  expect(others[2].kv.offloaded()).toMatchObject({ guessed: 0, foreseen: 0, vain: 0 });
  for (const { layer } of all) layer.close();
});

test('nothing happens in a cache that is in memory', () => {
  const layer = new Layer('F16', labels(false), { threads: 1 });
  expect(layer.kv.offloaded()).toBeUndefined();
  expect(layer.run(layer.kv.create(), 5, 'text').some(Number.isNaN)).toBe(false);
  layer.close();
});
