// The planner: memory is reused without one value overwriting another that is still needed, and mistakes are errors.
import { native, nativeCall } from '../../lib/native.js';
import type { VivaceError } from '../../lib/errors.js';
import { ProgramBuilder } from '../../lib/program/builder.js';
import { NativeProgram } from '../../lib/program/native-program.js';
import type { ProgramDescription } from '../../lib/native.js';
import type { Program, Value } from '../../lib/program/program.js';
import { variants } from '../ops/executors.js';

const noWeights = (): never => {
  throw new Error('no weights here');
};

/** A random program of adds over values that live for different times, and what it computes, in JavaScript. */
function randomAdds(seed: number, length: number, columns: number) {
  let state = seed;
  const random = (limit: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const builder = new ProgramBuilder('adds', () => undefined);
  const values: Value[] = [builder.input('a', 'F32', 'rows', columns), builder.input('b', 'F32', 'rows', columns)];
  const steps: [number, number][] = [];
  for (let i = 0; i < length; ++i) {
    // Mostly recent values, sometimes old ones: short and long lives.
    const pick = (): number =>
      random(4) === 0 ? random(values.length) : values.length - 1 - random(Math.min(4, values.length));
    const pair: [number, number] = [pick(), pick()];
    steps.push(pair);
    values.push(builder.add(values[pair[0]], values[pair[1]]));
  }
  const kept = [values.length - 1, 2 + random(length)];
  const program = builder.finish({ last: values[kept[0]], early: values[kept[1]] });
  const compute = (a: Float32Array, b: Float32Array): Float32Array[] => {
    const results = [a, b];
    for (const [left, right] of steps)
      results.push(results[left].map((value, i) => Math.fround(value + results[right][i])));
    return kept.map((index) => results[index]);
  };
  return { program, compute };
}

describe('planner', () => {
  test('random programs give the values of a plain evaluation, on every level and thread count', () => {
    for (let seed = 1; seed <= 20; ++seed) {
      const columns = 1 + (seed % 7) * 9;
      const { program, compute } = randomAdds(seed, 40, columns);
      const a = Float32Array.from({ length: 5 * columns }, (_, i) => Math.fround(Math.sin(i + seed) * 1e-3));
      const b = Float32Array.from({ length: 5 * columns }, (_, i) => Math.fround(Math.cos(i * seed) * 1e-3));
      const [last, early] = compute(a, b);
      for (const variant of variants()) {
        const compiled = new NativeProgram(program, noWeights, variant);
        const results = compiled.runSync({ a, b });
        expect(results['last']).toEqual(last);
        expect(results['early']).toEqual(early);
        compiled.dispose();
      }
    }
  });

  test('a long chain needs the memory of a few values, not of all', () => {
    const builder = new ProgramBuilder('chain', () => undefined);
    const first = builder.input('a', 'F32', 'rows', 1024);
    let value = first;
    for (let i = 0; i < 200; ++i) value = builder.add(value, first);
    const compiled = new NativeProgram(builder.finish({ value }), noWeights);
    compiled.runSync({ a: new Float32Array(16 * 1024) });
    expect(compiled.executable.sizes().arena).toBeLessThanOrEqual(4 * 16 * 1024 * 4);
    compiled.dispose();
  });

  test('different row counts after each other, growing and shrinking, stay right', () => {
    const builder = new ProgramBuilder('rows', () => undefined);
    const a = builder.input('a', 'F32', 'rows', 3);
    const compiled = new NativeProgram(builder.finish({ sum: builder.add(builder.add(a, a), a) }), noWeights, {
      threads: 2,
    });
    for (const rows of [1, 100, 3, 64, 65, 2, 1000, 1]) {
      const data = Float32Array.from({ length: rows * 3 }, (_, i) => i);
      expect(compiled.runSync({ a: data })['sum']).toEqual(data.map((x) => 3 * x));
    }
    compiled.dispose();
  });
});

describe('a description that no builder would make', () => {
  const builder = new ProgramBuilder('small', () => undefined);
  const input = builder.input('a', 'F32', 'rows', 4);
  const constant = builder.constant('c', 1, 4, Float32Array.of(1, 2, 3, 4));
  const program: Program = builder.finish({ sum: builder.add(input, constant) });
  const good: ProgramDescription = {
    names: program.values.map((value) => value.name),
    dtypes: Int32Array.from([0, 0, 0]),
    rows: Float64Array.from([-1, 1, -1]),
    columns: Float64Array.from([4, 4, 4]),
    kinds: Int32Array.from([0, 2, 3]),
    sources: [null, Float32Array.of(1, 2, 3, 4), null],
    calls: [{ op: 'add', inputs: [0, 1], outputs: [2], attributes: [] }],
    outputs: [2],
  };
  const code = (description: ProgramDescription, options: Record<string, unknown> = {}): string => {
    try {
      nativeCall(() => new (native().Executable)(description, { threads: 1, fuse: true, ...options }).close());
    } catch (error) {
      return (error as VivaceError).code;
    }
    return 'none';
  };
  const call = (change: Partial<ProgramDescription['calls'][number]>): ProgramDescription => ({
    ...good,
    calls: [{ ...good.calls[0], ...change }],
  });

  test('is refused with a code and never runs', () => {
    expect(code(good)).toBe('none');
    expect(code({ ...good, dtypes: Int32Array.from([0, 0]) })).toBe('INTERNAL');
    expect(code({ ...good, dtypes: Int32Array.from([0, 77, 0]) })).toBe('SHAPE_MISMATCH');
    expect(code({ ...good, columns: Float64Array.from([4, 5, 4]) })).toBe('SHAPE_MISMATCH');
    expect(code({ ...good, columns: Float64Array.from([4, -4, 4]) })).toBe('SHAPE_MISMATCH');
    expect(code({ ...good, rows: Float64Array.from([-1, 2 ** 60, -1]) })).toBe('SHAPE_MISMATCH');
    expect(code(call({ op: 'nonsense' }))).toBe('INTERNAL');
    expect(code(call({ inputs: [0] }))).toBe('INTERNAL');
    expect(code(call({ inputs: [0, 9] }))).toBe('INTERNAL');
    expect(code(call({ inputs: [0, -1] }))).toBe('INTERNAL');
    expect(code(call({ inputs: [2, 1] }))).toBe('INTERNAL');
    expect(code(call({ outputs: [] }))).toBe('INTERNAL');
    expect(code(call({ outputs: [0] }))).toBe('INTERNAL');
    expect(code(call({ attributes: [1] }))).toBe('INTERNAL');
    expect(code({ ...good, outputs: [5] })).toBe('INTERNAL');
    expect(code(good, { isa: 'mmx' })).toBe('INVALID_ARGUMENT');
    expect(code(good, { threads: 0 })).toBe('INVALID_ARGUMENT');
  });

  test('a run whose arrays do not fit is refused', () => {
    const executable = new (native().Executable)(good, { threads: 1, fuse: true });
    const run = (request: object): string => {
      try {
        nativeCall(() => executable.runSync(request as never));
      } catch (error) {
        return (error as VivaceError).code;
      }
      return 'none';
    };
    const a = new Float32Array(8);
    expect(run({ rows: 2, outputs: 0, bindings: [[0, a]] })).toBe('none');
    expect(run({ rows: 3, outputs: 0, bindings: [[0, a]] })).toBe('SHAPE_MISMATCH');
    expect(run({ rows: 2, outputs: 0, bindings: [] })).toBe('INTERNAL');
    expect(run({ rows: 2, outputs: 0, bindings: [[9, a]] })).toBe('INTERNAL');
    expect(run({ rows: 0, outputs: 0, bindings: [] })).toBe('INTERNAL');
    executable.close();
    expect(run({ rows: 2, outputs: 0, bindings: [[0, a]] })).toBe('DISPOSED');
  });
});

describe('a KV cache of another shape', () => {
  const builder = new ProgramBuilder('attends', () => undefined);
  const q = builder.input('q', 'F32', 'rows', 4 * 8);
  const k = builder.input('k', 'F32', 'rows', 2 * 8);
  const v = builder.input('v', 'F32', 'rows', 2 * 16);
  builder.kvWrite(k, v, 1);
  const options = { layer: 1, heads: 4, valueDim: 16, scale: 1 };
  const program = builder.finish({ y: builder.attention(q, options) });
  const fitting = {
    layers: 2,
    kvHeads: 2,
    keyDim: 8,
    valueDim: 16,
    pageSize: 4,
    keyType: 0,
    valueType: 0,
    maxPages: 4,
  };
  const code = (change: Partial<typeof fitting>): string => {
    const kv = new (native().KvCache)({ ...fitting, ...change });
    const compiled = new NativeProgram(program, noWeights);
    const one = Int32Array.of(0);
    const batch = {
      tokens: one,
      positions: one,
      sequences: Int32Array.of(kv.create()),
      outputRows: new Int32Array(0),
      kv,
    };
    try {
      compiled.runSync({ q: new Float32Array(32), k: new Float32Array(16), v: new Float32Array(32) }, batch);
    } catch (error) {
      return (error as VivaceError).code;
    } finally {
      compiled.dispose();
      kv.close();
    }
    return 'none';
  };

  test('is refused before a kernel sees it', () => {
    expect(code({})).toBe('none');
    for (const change of [
      { layers: 1 },
      { kvHeads: 1 },
      { kvHeads: 4 },
      { kvHeads: 3 },
      { keyDim: 16 },
      { valueDim: 8 },
    ]) {
      expect(code(change)).toBe('SHAPE_MISMATCH');
    }
  });
});
