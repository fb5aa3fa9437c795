// Cases of linear and quantize_rows; tests check them, benches time them.
import { native } from '../../../lib/native.js';
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { dtypes, inGguf, rowBytes } from '../../../lib/program/dtype.js';
import type { DType } from '../../../lib/program/dtype.js';
import type { Program } from '../../../lib/program/program.js';
import type { ReferenceWeight } from '../../../lib/program/reference/interpreter.js';
import { random } from '../op-case.js';
import type { Inputs } from '../op-case.js';

export interface LinearCase {
  readonly name: string;
  readonly dtype: DType;
  readonly rows: number;
  readonly columns: number;
  readonly out: number;
  readonly bias: boolean;
  readonly residual: boolean;
}

export const weightTypes = Object.values(dtypes)
  .filter(({ weight }) => weight)
  .map(({ name }) => name as DType);

/** Codes with scales: their `linear` takes A8 activations. */
export const quantisedTypes = weightTypes.filter((dtype) => dtypes[dtype].block > 1 && inGguf(dtype));

/** Codes with scales of rows: their `linear` takes A8_TOKEN activations. */
export const tokenTypes = weightTypes.filter((dtype) => /^W\dA8/.test(dtype));

const batches = [1, 2, 3, 5, 8, 17, 33, 100];

/** Widths that are no multiple of a vector; of blocks, one, a few, and more than a panel's 256 columns. */
function widths(dtype: DType): number[] {
  const { block } = dtypes[dtype];
  if (block === 1) return [1, 7, 63, 133, 1030];
  if (block === 2) return [2, 14, 62, 134, 1030];
  return block === 32 ? [32, 224, 544] : block === 256 ? [256, 768] : [block, 3 * block, 9 * block];
}

/** Every batch with every format; widths, odd numbers of outputs, bias and residual take turns. */
export const linearCases: LinearCase[] = weightTypes.flatMap((dtype, t) =>
  batches.map((rows, b) => {
    const columns = widths(dtype)[(b + t) % widths(dtype).length];
    const out = [1, 5, 16, 37, 131][(b + 2 * t) % 5];
    const [bias, residual] = [b % 2 === 1, (b >> 1) % 2 === 1];
    const extras = `${bias ? ' + bias' : ''}${residual ? ' + residual' : ''}`;
    return {
      name: `${dtype} [${rows}, ${columns}] · [${out}, ${columns}]ᵀ${extras}`,
      dtype,
      rows,
      columns,
      out,
      bias,
      residual,
    };
  }),
);

export function quantise(dtype: DType, values: Float32Array, rows: number, columns: number): Uint8Array {
  const bytes = new Uint8Array(rows * rowBytes(dtype, columns));
  native().quantize(dtypes[dtype].id, values, rows, columns, bytes);
  return bytes;
}

/** A program of one linear over a given weight; inputs `x` and, where asked for, `residual`. */
export function linearProgram(
  options: Pick<LinearCase, 'dtype' | 'columns' | 'out'> & Partial<Pick<LinearCase, 'bias' | 'residual'>>,
): Program {
  const { dtype, columns, out, bias = false, residual = false } = options;
  const builder = new ProgramBuilder('linear', () => ({ dtype, shape: [out, columns] }));
  const x = builder.input('x', 'F32', 'rows', columns);
  const weight = builder.weight('weight', [out, columns]);
  const offsets = bias ? builder.constant('bias', 1, out, random('bias', out)) : undefined;
  const added = residual ? builder.input('residual', 'F32', 'rows', out) : undefined;
  return builder.finish({ y: builder.call('linear', [x, weight, offsets, added], {})[0] });
}

export function linearWeight({ dtype, columns, out }: LinearCase): ReferenceWeight {
  const bytes = quantise(dtype, random(`weight ${dtype} ${columns}`, out * columns), out, columns);
  return { dtype, shape: [out, columns], bytes };
}

export function linearInputs({ rows, columns, out, residual }: LinearCase): Inputs {
  return {
    x: random(`x ${rows} ${columns}`, rows * columns),
    ...(residual ? { residual: random('residual', rows * out) } : {}),
  };
}

/** What 8-bit activations keep with one scale per `width` values, from the formulas of quantize_rows.h and quantize_tokens.h. */
export function through8Bits(x: Float32Array, width: number): Float32Array {
  const result = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    const largest = x.subarray(start, start + width).reduce((top, value) => Math.max(top, Math.abs(value)), 0);
    if (!Number.isFinite(largest)) result.fill(NaN, start, start + width);
    if (!Number.isFinite(largest) || largest < 2 ** -100) continue;
    const [inverse, scale] = [Math.fround(127 / largest), Math.fround(largest / 127)];
    for (let i = start; i < start + width; ++i) result[i] = roundHalfEven(Math.fround(x[i] * inverse)) * scale;
  }
  return result;
}

export const throughA8 = (x: Float32Array): Float32Array => through8Bits(x, 32);

/** What `linear` with weights of a type sees of its input. */
export function activationsFor(dtype: DType, x: Float32Array, columns: number): Float32Array {
  if (tokenTypes.includes(dtype)) return through8Bits(x, columns);
  return quantisedTypes.includes(dtype) ? throughA8(x) : x;
}

/** What 16-bit floats keep under a power of two that brings the largest of `width` values to [2^14, 2^15). */
export function throughHalves(x: Float32Array, columns: number, width: number): Float32Array {
  const exponent = (value: number) => ((new Uint32Array(Float32Array.of(value).buffer)[0] >> 23) & 255) - 127;
  return x.map((value, i) => {
    const column = i % columns;
    const start = i - (column % width);
    const all = x.subarray(start, Math.min(start + width, i - column + columns));
    const top = exponent(all.reduce((most, one) => Math.max(most, Math.abs(one)), 0));
    const step = 2 ** (Math.max(exponent(value), top - 28) - 10);
    return roundHalfEven(value / step) * step;
  });
}

/** What kernels for cards make of x for weights in fragments (cuda/quant/fragments.h); undefined for other ones. */
export function halvedOnCards(dtype: DType, x: Float32Array, columns: number): Float32Array | undefined {
  return /^W\dA16/.test(dtype) && columns % 32 === 0 ? throughHalves(x, columns, 128) : undefined;
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}
