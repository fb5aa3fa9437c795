// kv_write leaves the bytes in the cache that the reference's cache holds, for every type, level and team, and on a
// device.
import { native } from '../../../lib/native.js';
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { dtypes } from '../../../lib/program/dtype.js';
import type { KvDType } from '../../../lib/program/executor.js';
import { NativeProgram } from '../../../lib/program/native-program.js';
import { ReferenceProgram } from '../../../lib/program/reference/interpreter.js';
import { ReferenceKv } from '../../../lib/program/reference/kv-cells.js';
import { emulatedDevice, variants } from '../executors.js';
import { random } from '../op-case.js';

const noWeights = (): never => {
  throw new Error('no weights here');
};

/** Values that round in both directions, to even, to nothing, beyond the largest half, and those that are no numbers. */
const difficult = [
  0,
  -0,
  1,
  -1,
  1 + 2 ** -11,
  1 + 3 * 2 ** -11,
  65519,
  65520,
  -1e9,
  2 ** -14,
  2 ** -24,
  2 ** -25,
  1.5 * 2 ** -25,
  -(2 ** -26),
  2 ** -14 - 2 ** -25,
  1e-40,
  3.1415927,
  127,
  63.5,
  -63.5,
  0.5,
  2047.5,
  33333,
];

function expectBytes(type: KvDType, kvHeads: number, dim: number, rows: number, k: Float32Array, v: Float32Array) {
  const shape = { layers: 2, kvHeads, keyDim: dim, valueDim: dim };
  const builder = new ProgramBuilder('kv_write', () => undefined);
  const [kIn, vIn] = ['k', 'v'].map((name) => builder.input(name, 'F32', 'rows', kvHeads * dim));
  builder.kvWrite(kIn, vIn, 0);
  builder.kvWrite(vIn, kIn, 1);
  const program = builder.finish({ y: builder.scale(kIn, 1) }, shape);
  const batch = {
    tokens: new Int32Array(rows),
    positions: Int32Array.from({ length: rows }, (_, row) => row),
    outputRows: new Int32Array(0),
  };

  const reference = new ReferenceKv(shape, { keyType: type, valueType: type, pageSize: 4, maxPages: 99 });
  const sequences = new Int32Array(rows).fill(reference.create());
  new ReferenceProgram(program, noWeights).run({ k, v }, { ...batch, sequences, kv: reference });
  const wanted = new Uint8Array(rows * reference.cellBytes);
  reference.readCells(sequences[0], 0, rows, wanted);

  const device = emulatedDevice();
  for (const variant of [...variants(), ...(device ? [{ device }] : [])]) {
    const id = dtypes[type].id;
    const place = 'device' in variant ? variant : {};
    const kv = new (native().KvCache)({ ...shape, pageSize: 4, keyType: id, valueType: id, maxPages: 99, ...place });
    expect(kv.sizes().cellBytes).toBe(reference.cellBytes);
    const compiled = new NativeProgram(program, noWeights, variant);
    compiled.runSync({ k, v }, { ...batch, sequences: new Int32Array(rows).fill(kv.create()), kv });
    const bytes = new Uint8Array(wanted.length);
    kv.readCells(0, 0, rows, bytes);
    expect(Buffer.from(bytes).toString('hex')).toBe(Buffer.from(wanted).toString('hex'));
    compiled.dispose();
    kv.close();
  }
}

describe.each(['F32', 'F16', 'Q8_0', 'Q4_0'] as const)('%s', (type) => {
  const dims = type === 'Q8_0' || type === 'Q4_0' ? [32, 64, 128] : [1, 7, 16, 64, 80];
  test.each(dims)('heads %i wide', (dim) => {
    for (const [kvHeads, rows] of [
      [1, 1],
      [2, 9],
      [5, 4],
    ]) {
      for (const size of [1, 1e-3, 300]) {
        const count = rows * kvHeads * dim;
        expectBytes(type, kvHeads, dim, rows, random('k', count, size), random('v', count, size));
      }
    }
  });

  test('values that are difficult to round', () => {
    const k = Float32Array.from({ length: 64 }, (_, i) => difficult[i % difficult.length]);
    expectBytes(type, 1, 64, 1, k, k.toReversed());
    // Each alone in its block: the block's scale follows it.
    for (const value of difficult) {
      const alone = new Float32Array(64);
      alone[5] = value;
      expectBytes(type, 1, 64, 1, alone, new Float32Array(64));
    }
  });
});

test.each(['Q8_0', 'Q4_0'] as const)('a NaN or an infinity among 32 values makes the whole %s block NaN', (type) => {
  for (const strange of [NaN, Infinity, -Infinity]) {
    const k = random('k', 64);
    k[40] = strange;
    expectBytes(type, 1, 64, 1, k, random('v', 64));
  }
});
