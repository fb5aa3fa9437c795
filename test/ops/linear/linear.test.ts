// linear against the reference for every weight format, and the laws it obeys: exact integer sums, the same bits for any
// batch and team and, with fused multiply-add, any level; nothing read beyond the weights.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '../../../lib/native.js';
import { dtypes, rowBytes } from '../../../lib/program/dtype.js';
import type { DType } from '../../../lib/program/dtype.js';
import type { BindWeight } from '../../../lib/program/native-program.js';
import { dequantiseRow } from '../../../lib/program/reference/dequantise.js';
import { ReferenceProgram } from '../../../lib/program/reference/interpreter.js';
import type { ReferenceWeight } from '../../../lib/program/reference/interpreter.js';
import { Generator } from '../../fixtures/random/generator.js';
import { expectSameBits, random } from '../op-case.js';
import type { Inputs } from '../op-case.js';
import { cardName, emulatedDevice, isaLevels, runNative, variants } from '../executors.js';
import {
  activationsFor,
  halvedOnCards,
  linearCases,
  linearInputs,
  linearProgram,
  linearWeight,
  quantise,
  quantisedTypes,
  tokenTypes,
  weightTypes,
} from './cases.js';

const run = (
  program: ReturnType<typeof linearProgram>,
  bytes: Uint8Array,
  inputs: Inputs,
  isa: string,
  threads: number,
  repack = true,
): Float32Array => runNative(program, () => bytes, inputs, { isa, threads, fuse: true, repack })['y'];

/** |x| · |W|ᵀ: what an output's rounding errors are proportional to. */
function magnitudes({ dtype, bytes, shape: [out, columns] }: ReferenceWeight, x: Float32Array): Float64Array {
  const rows = x.length / columns;
  const sums = new Float64Array(rows * out);
  for (let n = 0; n < out; ++n) {
    const row = dequantiseRow(dtype, bytes.subarray(n * rowBytes(dtype, columns)), columns);
    for (let r = 0; r < rows; ++r)
      for (let k = 0; k < columns; ++k) sums[r * out + n] += Math.abs(row[k] * x[r * columns + k]);
  }
  return sums;
}

test.each(linearCases.map((linearCase) => [linearCase.name, linearCase]))('%s', (_, linearCase) => {
  const program = linearProgram(linearCase);
  const weight = linearWeight(linearCase);
  const inputs = linearInputs(linearCase) as { x: Float32Array };
  const wantedOf = (given: Float32Array) => {
    const { y } = new ReferenceProgram(program, () => weight).run({ ...inputs, x: given });
    return { y, sizes: magnitudes(weight, given) };
  };
  const forCpu = wantedOf(activationsFor(linearCase.dtype, inputs.x, linearCase.columns));
  const onCard = halvedOnCards(linearCase.dtype, inputs.x, linearCase.columns);
  const forCard = onCard ? wantedOf(onCard) : forCpu;
  const device = emulatedDevice();
  const runs: { isa: string; threads: number }[] = variants();
  for (const { isa, threads } of device ? [...runs, { isa: cardName, threads: 1 }] : runs) {
    const y =
      isa === cardName
        ? runNative(program, () => weight.bytes, inputs, { ...(device ? { device } : {}) })['y']
        : run(program, weight.bytes, inputs, isa, threads);
    const { y: wanted, sizes } = isa === cardName ? forCard : forCpu;
    // Rounding of sums in 32 bits, and of bias and residual.
    const wrong = y.findIndex(
      (value, i) => !(Math.abs(value - wanted[i]) <= 3e-7 * (sizes[i] + Math.abs(wanted[i]) + 1)),
    );
    if (wrong >= 0) throw new Error(`${isa}, ${threads} threads: value ${wrong} is ${y[wrong]}, not ${wanted[wrong]}`);
    if (isa === cardName) continue;
    const inFile = run(program, weight.bytes, inputs, isa, 3 - threads, false);
    expectSameBits(inFile, y, `${isa}, weights as in their file`);
  }
});

/** Sets the 16-bit floats of every block to 1 or −1: values and their sums are then whole numbers. */
function withUnitScales(dtype: DType, bytes: Uint8Array): Uint8Array {
  const halves: Partial<Record<DType, readonly number[]>> = {
    Q4_1: [0, 2],
    Q5_1: [0, 2],
    Q2_K: [80, 82],
    Q3_K: [108],
    Q4_K: [0, 2],
    Q5_K: [0, 2],
    Q6_K: [208],
  };
  const view = new DataView(bytes.buffer);
  for (let block = 0, index = 0; block < bytes.length; block += dtypes[dtype].bytes, ++index) {
    for (const offset of halves[dtype] ?? [0]) view.setUint16(block + offset, index % 3 ? 0x3c00 : 0xbc00, true);
  }
  return bytes;
}

function expectExact(dtype: DType, bytes: Uint8Array, out: number, columns: number, x: Float32Array) {
  const program = linearProgram({ dtype, columns, out });
  const { y: wanted } = new ReferenceProgram(program, () => ({ dtype, shape: [out, columns], bytes })).run({ x });
  for (const { isa, threads } of variants()) {
    expect(Array.from(run(program, bytes, { x }, isa, threads))).toEqual(Array.from(wanted));
  }
}

// With 127 in every block of activations their scale is 1, and A8 loses nothing.
describe.each(quantisedTypes)('%s: sums of whole numbers are exact', (dtype) => {
  test('random codes and small scales', () => {
    const [rows, columns, out] = [9, 512, 21];
    const generator = new Generator(7, dtype);
    const bytes = Uint8Array.from({ length: out * rowBytes(dtype, columns) }, () => generator.integer(0, 255));
    const x = Float32Array.from({ length: rows * columns }, (_, i) =>
      i % 32 === 5 ? 127 : generator.integer(-127, 127),
    );
    expectExact(dtype, withUnitScales(dtype, bytes), out, columns, x);
  });

  test('extreme codes and activations', () => {
    const [columns, size] = [512, rowBytes(dtype, 512)];
    const bytes = Uint8Array.from({ length: 3 * size }, (_, i) => [0xff, 0x00, 0x80][Math.floor(i / size)]);
    const x = Float32Array.from({ length: 3 * columns }, (_, i) =>
      i < columns ? 127 : i < 2 * columns ? -127 : i % 2 ? 127 : -127,
    );
    expectExact(dtype, withUnitScales(dtype, bytes), 3, columns, x);
  });
});

describe.each(weightTypes)('%s', (dtype) => {
  const [rows, columns, out] = [21, dtypes[dtype].block === 1 ? 133 : dtypes[dtype].block === 2 ? 134 : 768, 53];
  const bytes = quantise(dtype, random('weight', out * columns), out, columns);
  const x = random('x', rows * columns);
  const residual = random('residual', rows * out);
  const program = linearProgram({ dtype, columns, out, bias: true, residual: true });

  test('a row has the same bits in every batch and team', () => {
    for (const isa of isaLevels()) {
      const all = run(program, bytes, { x, residual }, isa, 1);
      for (const [first, count] of [
        [0, 1],
        [20, 1],
        [3, 2],
        [4, 3],
        [7, 4],
        [1, 7],
        [2, 8],
        [5, 16],
        [0, 21],
      ]) {
        const inputs = {
          x: x.slice(first * columns, (first + count) * columns),
          residual: residual.slice(first * out, (first + count) * out),
        };
        const part = run(program, bytes, inputs, isa, 1 + (count % 2));
        expectSameBits(part, all.slice(first * out, (first + count) * out), `${isa}, rows ${first} … + ${count}`);
      }
    }
  });

  test('an output has the same bits at every place among the weights', () => {
    const size = rowBytes(dtype, columns);
    const plain = linearProgram({ dtype, columns, out });
    for (const isa of isaLevels()) {
      const all = run(plain, bytes, { x }, isa, 2);
      for (const [first, count] of [
        [0, 1],
        [52, 1],
        [3, 17],
        [16, 37],
      ]) {
        const few = linearProgram({ dtype, columns, out: count });
        const y = run(few, bytes.slice(first * size, (first + count) * size), { x }, isa, 1);
        const wanted = Float32Array.from(y, (_, i) => all[Math.floor(i / count) * out + first + (i % count)]);
        expectSameBits(y, wanted, `${isa}, outputs ${first} … + ${count}`);
      }
    }
  });

  test('only the row of a NaN or an infinity is spoilt', () => {
    const spoilt = x.slice();
    spoilt[2 * columns + 40] = NaN;
    spoilt[4 * columns] = Infinity;
    spoilt[5 * columns + columns - 1] = -Infinity;
    for (const isa of isaLevels()) {
      const [clean, y] = [x, spoilt].map((given) => run(program, bytes, { x: given, residual }, isa, 2));
      for (let row = 0; row < rows; ++row) {
        const values = y.slice(row * out, (row + 1) * out);
        if ([2, 4, 5].includes(row)) expect(values.some(Number.isFinite)).toBe(false);
        else expectSameBits(values, clean.slice(row * out, (row + 1) * out), `${isa}, row ${row}`);
      }
    }
  });

  test('a row of zeros gives bias and residual', () => {
    const bias = program.values.find(({ name }) => name === 'bias')?.data as Float32Array;
    const wanted = Float32Array.from(residual, (value, i) => bias[i % out] + value);
    for (const isa of isaLevels())
      expectSameBits(run(program, bytes, { x: new Float32Array(x.length), residual }, isa, 2), wanted, isa);
  });

  test('weights may lie at any address, up to the last byte of a mapped file', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vivace-linear-'));
    const file = join(folder, 'weights');
    // The file ends with the weights, its size is whole pages, and what was mapped behind it is gone: a read beyond crashes.
    const offset = 16384 * Math.ceil((bytes.length + 1) / 16384) - bytes.length;
    writeFileSync(file, Buffer.concat([Buffer.alloc(offset), bytes]));
    const behind = new (native().Mapping)(file);
    const mapping = new (native().Mapping)(file);
    behind.close();
    const bind: BindWeight = () => ({ mapping, offset });
    for (const { isa, threads } of variants()) {
      for (const repack of [true, false]) {
        const { y } = runNative(program, bind, { x, residual }, { isa, threads, fuse: true, repack });
        expectSameBits(y, run(program, bytes, { x, residual }, isa, threads), `${isa}, offset ${offset}`);
      }
    }
    mapping.close();
    rmSync(folder, { recursive: true });
  });
});

describe.each([...quantisedTypes, ...tokenTypes])('%s: levels with fused multiply-add give the same bits', (dtype) => {
  // All of ARM's have it, x86's baseline has not.
  const [first, ...others] = isaLevels().filter((isa) => isa !== 'baseline' || process.arch === 'arm64');
  const [columns, out] = [dtypes[dtype].block < 32 ? 4134 : 1024, 43];
  const bytes = quantise(dtype, random('weight', out * columns), out, columns);
  const program = linearProgram({ dtype, columns, out });

  // Every mixture of register tiles, and what is left over.
  test.each([1, 2, 3, 4, 5, 6, 7, 15, 33])('%i rows', (rows) => {
    const x = random('x', rows * columns);
    const wanted = first ? run(program, bytes, { x }, first, 1) : new Float32Array();
    for (const isa of others) {
      expectSameBits(run(program, bytes, { x }, isa, 2), wanted, isa);
      expectSameBits(run(program, bytes, { x }, isa, 1, false), wanted, `${isa}, weights as in their file`);
    }
  });
});

test('the output may take the place of the residual', () => {
  const dtype = 'Q4_0';
  const linearCase = { name: '', dtype, rows: 9, columns: 64, out: 40, bias: true, residual: true } as const;
  const weight = linearWeight(linearCase);
  const inputs = linearInputs(linearCase);
  for (const { isa, threads } of variants()) {
    const program = linearProgram(linearCase);
    const apart = run(program, weight.bytes, inputs, isa, threads);
    // add(scale(residual), linear(x)) is fused; the scaled copy is used by nothing else, so its memory is free.
    const values = linearProgram({ ...linearCase, residual: false });
    const fused = addedToScaled(values);
    expectSameBits(run(fused, weight.bytes, inputs, isa, threads), apart, isa);
  }
});

function addedToScaled(program: ReturnType<typeof linearProgram>): ReturnType<typeof linearProgram> {
  const [call] = program.calls;
  const { columns } = call.outputs[0];
  const value = (id: number, name: string, kind: 'input' | 'value') =>
    ({ id, name, dtype: 'F32', rows: 'rows', columns, kind }) as const;
  const first = program.values.length;
  const residual = value(first, 'residual', 'input');
  const copy = value(first + 1, 'copy', 'value');
  const y = value(first + 2, 'sum', 'value');
  return {
    ...program,
    values: [...program.values, residual, copy, y],
    calls: [
      { op: 'scale', inputs: [residual], outputs: [copy], attributes: [1] },
      call,
      { op: 'add', inputs: [copy, call.outputs[0]], outputs: [y], attributes: [] },
    ],
    outputs: { y },
  };
}
