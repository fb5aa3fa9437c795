// Linear maps in the layouts of quantised checkpoints, written place by place from the formats' closed forms.
import type { SafetensorsTensorInput } from '../../../lib/formats/safetensors-writer.js';
import type { SafetensorsType } from '../../../lib/formats/safetensors.js';
import { numberToHalf } from '../../../lib/program/reference/quantise.js';

/** value = scale · (code − zero), codes unsigned, by row and column; scales and zero points by row and group. */
export interface Linear {
  readonly rows: number;
  readonly columns: number;
  readonly bits: 2 | 4 | 8;
  readonly group: number;
  code(row: number, column: number): number;
  scale(row: number, group: number): number;
  zero(row: number, group: number): number;
  /** The group of a column; default: groups of neighbours. */
  readonly groupOf?: (column: number) => number;
}

export const groupOf = (linear: Linear, column: number): number =>
  linear.groupOf?.(column) ?? Math.floor(column / linear.group);

type Tensors = SafetensorsTensorInput[];

const tensor = (
  name: string,
  type: SafetensorsType,
  shape: readonly number[],
  data: ArrayBufferView,
): SafetensorsTensorInput => ({
  name,
  type,
  shape,
  data: new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength),
});

/** Words of 32 bits, `bits` per field, set one by one. */
class Words {
  readonly words: Uint32Array;
  constructor(
    count: number,
    private readonly bits: number,
  ) {
    this.words = new Uint32Array(count);
  }
  set(word: number, place: number, value: number): void {
    this.words[word] = (this.words[word] | ((value & (2 ** this.bits - 1)) << (this.bits * place))) >>> 0;
  }
}

export type ScaleType = 'F16' | 'BF16' | 'F32';

function scaleTensor(
  name: string,
  type: ScaleType,
  shape: readonly number[],
  values: Float32Array,
): SafetensorsTensorInput {
  if (type === 'F32') return tensor(name, type, shape, values);
  const bf16 = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0] >>> 16;
  return tensor(name, type, shape, Uint16Array.from(values, type === 'F16' ? numberToHalf : bf16));
}

const byGroupAndRow = ({ rows, columns, group, scale }: Linear): Float32Array =>
  Float32Array.from({ length: (columns / group) * rows }, (_, i) => scale(i % rows, Math.floor(i / rows)));

const byRowAndGroup = ({ rows, columns, group, scale }: Linear): Float32Array => {
  const groups = columns / group;
  return Float32Array.from({ length: groups * rows }, (_, i) => scale(Math.floor(i / groups), i % groups));
};

const index = (linear: Linear): Int32Array =>
  Int32Array.from({ length: linear.columns }, (_, column) => groupOf(linear, column));

/** qweight: word [k / n, row], field k % n; qzeros: word [group, row / n], field row % n, stored less `less`. */
export function gptq(module: string, linear: Linear, less: 0 | 1, withIndex = true): Tensors {
  const { rows, columns, bits, group, code, zero } = linear;
  const per = 32 / bits;
  const groups = columns / group;
  const weights = new Words((columns / per) * rows, bits);
  const zeros = new Words(groups * (rows / per), bits);
  for (let n = 0; n < rows; ++n) {
    for (let k = 0; k < columns; ++k) weights.set(Math.floor(k / per) * rows + n, k % per, code(n, k));
    for (let g = 0; g < groups; ++g) zeros.set(g * (rows / per) + Math.floor(n / per), n % per, zero(n, g) - less);
  }
  return [
    tensor(`${module}.qweight`, 'I32', [columns / per, rows], weights.words),
    tensor(`${module}.qzeros`, 'I32', [groups, rows / per], zeros.words),
    scaleTensor(`${module}.scales`, 'F16', [groups, rows], byGroupAndRow(linear)),
    ...(withIndex ? [tensor(`${module}.g_idx`, 'I32', [columns], index(linear))] : []),
  ];
}

const awqOrder = [0, 2, 4, 6, 1, 3, 5, 7];

/** Word [k, row / 8], nibble p holds row 8 · (row / 8) + awqOrder[p]; zero points alike. */
export function awq(module: string, linear: Linear): Tensors {
  const { rows, columns, group, code, zero } = linear;
  const groups = columns / group;
  const weights = new Words((columns * rows) / 8, 4);
  const zeros = new Words((groups * rows) / 8, 4);
  for (let n = 0; n < rows; n += 8) {
    for (let p = 0; p < 8; ++p) {
      for (let k = 0; k < columns; ++k) weights.set((k * rows + n) / 8, p, code(n + awqOrder[p], k));
      for (let g = 0; g < groups; ++g) zeros.set((g * rows + n) / 8, p, zero(n + awqOrder[p], g));
    }
  }
  return [
    tensor(`${module}.qweight`, 'I32', [columns, rows / 8], weights.words),
    tensor(`${module}.qzeros`, 'I32', [groups, rows / 8], zeros.words),
    scaleTensor(`${module}.scales`, 'F16', [groups, rows], byGroupAndRow(linear)),
  ];
}

/** compressed-tensors pack-quantized: word [row, k / n]; zero points packed along rows. */
export function packed(
  module: string,
  linear: Linear,
  type: ScaleType,
  zeroPoints: boolean,
  withIndex = false,
): Tensors {
  const { rows, columns, bits, group, code, zero } = linear;
  const per = 32 / bits;
  const groups = columns / group;
  const width = Math.ceil(columns / per);
  const weights = new Words(rows * width, bits);
  const zeros = new Words(Math.ceil(rows / per) * groups, bits);
  for (let n = 0; n < rows; ++n) {
    for (let k = 0; k < columns; ++k) weights.set(n * width + Math.floor(k / per), k % per, code(n, k));
    for (let g = 0; g < groups; ++g) zeros.set(Math.floor(n / per) * groups + g, n % per, zero(n, g));
  }
  return [
    tensor(`${module}.weight_packed`, 'I32', [rows, width], weights.words),
    scaleTensor(`${module}.weight_scale`, type, [rows, groups], byRowAndGroup(linear)),
    tensor(`${module}.weight_shape`, 'I64', [2], BigInt64Array.of(BigInt(rows), BigInt(columns))),
    ...(zeroPoints ? [tensor(`${module}.weight_zero_point`, 'I32', [Math.ceil(rows / per), groups], zeros.words)] : []),
    ...(withIndex ? [tensor(`${module}.weight_g_idx`, 'I32', [columns], index(linear))] : []),
  ];
}

/** compressed-tensors int-quantized: signed bytes. */
export function bytes(module: string, linear: Linear, type: ScaleType, zeroPoints: boolean): Tensors {
  const { rows, columns, group, code, zero } = linear;
  const groups = columns / group;
  const weights = Int8Array.from(
    { length: rows * columns },
    (_, i) => code(Math.floor(i / columns), i % columns) - 128,
  );
  const zeros = Int8Array.from({ length: rows * groups }, (_, i) => zero(Math.floor(i / groups), i % groups) - 128);
  return [
    tensor(`${module}.weight`, 'I8', [rows, columns], weights),
    scaleTensor(`${module}.weight_scale`, type, [rows, groups], byRowAndGroup(linear)),
    ...(zeroPoints ? [tensor(`${module}.weight_zero_point`, 'I8', [rows, groups], zeros)] : []),
  ];
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
/** What position i of permuted scales holds: of 64 rows with groups, of 32 without. */
const groupedScales = range(64).map((i) => Math.floor(i / 8) + 8 * (i % 8));
const rowScales = range(4).flatMap((i) => [0, 1, 8, 9, 16, 17, 24, 25].map((offset) => offset + 2 * i));

/** Tiles of 16 columns and 64 rows; the fields of a word are elements of a tensor-core fragment. */
function fragments(
  linear: Linear,
  order: readonly number[],
  columnOf: (lane: number, r: number) => number,
  mask = 0,
): Uint32Array {
  const { rows, columns, code } = linear;
  const weights = new Words((columns / 16) * 2 * rows, 4);
  for (let kt = 0; kt < columns / 16; ++kt) {
    for (let u = 0; u < 2 * rows; ++u) {
      const [c, lane, j] = [Math.floor(u / 128), Math.floor((u % 128) / 4), u % 4];
      order.forEach((e, b) => {
        const n = 64 * c + 16 * j + Math.floor(lane / 4) + 8 * Math.floor(e / 4);
        weights.set(kt * 2 * rows + u, b, code(n, 16 * kt + columnOf(lane, e % 4)) ^ mask);
      });
    }
  }
  return weights.words;
}

const permuted = (values: Float32Array, order: readonly number[]): Float32Array =>
  values.map((_, i) => values[i - (i % order.length) + order[i % order.length]]);

/** Zero points are all 8. */
export function marlin(module: string, linear: Linear): Tensors {
  const { rows, columns, group } = linear;
  const words = fragments(linear, [0, 2, 4, 6, 1, 3, 5, 7], (lane, r) => 2 * (lane % 4) + [0, 1, 8, 9][r]);
  const order = group === columns ? rowScales : groupedScales;
  return [
    tensor(`${module}.B`, 'I32', [columns / 16, 2 * rows], words),
    scaleTensor(`${module}.s`, 'F16', [columns / group, rows], permuted(byGroupAndRow(linear), order)),
    tensor(`${module}.workspace`, 'I32', [16], new Int32Array(16)),
  ];
}

/** Per row (no `groupScale`): two's complement nibbles, scales divided by 16. With groups: codes about 8. */
export function qqq(module: string, linear: Linear, groupScale?: (row: number, group: number) => number): Tensors {
  const { rows, columns, group, scale } = linear;
  const columnOf = (lane: number, r: number): number => 4 * (lane % 4) + r;
  const words = groupScale
    ? fragments(linear, [0, 2, 4, 6, 1, 3, 5, 7], columnOf)
    : fragments(linear, [4, 0, 5, 1, 6, 2, 7, 3], columnOf, 8);
  const channel = Float32Array.from({ length: rows }, (_, n) => scale(n, 0) / (groupScale ? 1 : 16));
  const groups = groupScale ? byGroupAndRow({ ...linear, scale: groupScale }) : new Float32Array(0);
  return [
    tensor(`${module}.B`, 'I32', [columns / 16, 2 * rows], words),
    tensor(`${module}.s_channel`, 'F32', [1, rows], permuted(channel, rowScales)),
    scaleTensor(
      `${module}.s_group`,
      'F16',
      groupScale ? [columns / group, rows] : [0],
      permuted(groups, groupedScales),
    ),
  ];
}

/** Blocks of 32 by 32, 16 bytes to a lane. Per row: scale · zero; per group: integer scales and −scale · zero. */
export function qserve(module: string, linear: Linear, groupScale?: (row: number, group: number) => number): Tensors {
  const { rows, columns, group, code, scale, zero } = linear;
  const weights = new Uint8Array((rows * columns) / 2);
  for (let nb = 0; nb < rows / 32; ++nb) {
    for (let kb = 0; kb < columns / 32; ++kb) {
      for (let i = 0; i < 512; ++i) {
        const [lane, y] = [i >> 4, i & 15];
        const k = 32 * kb + 16 * (y >> 3) + 4 * (lane % 4) + (y % 4);
        const n = 32 * nb + 8 * ((y >> 2) % 2) + (lane >> 2);
        weights[(nb * (columns / 32) + kb) * 512 + i] = code(n, k) | (code(n + 16, k) << 4);
      }
    }
  }
  const rowScale = Float32Array.from({ length: rows }, (_, n) => scale(n, 0));
  const common = [
    tensor(`${module}.qweight`, 'I8', [rows, columns / 2], weights),
    scaleTensor(`${module}.s1_scales`, 'F16', [rows], rowScale),
  ];
  if (!groupScale) {
    const shifts = rowScale.map((value, n) => value * zero(n, 0));
    return [...common, scaleTensor(`${module}.s1_szeros`, 'F16', [rows], shifts)];
  }
  const groups = columns / group;
  const [scales, zeros] = [new Int8Array(groups * rows), new Int8Array(groups * rows)];
  for (let g = 0; g < groups; ++g) {
    for (let i = 0; i < rows; ++i) {
      const n = i - (i % 32) + 8 * (i % 4) + Math.floor((i % 32) / 4); // place 4a + b holds row 8b + a
      scales[g * rows + i] = groupScale(n, g);
      zeros[g * rows + i] = -groupScale(n, g) * zero(n, g);
    }
  }
  return [
    ...common,
    tensor(`${module}.s2_scales`, 'I8', [groups, rows], scales),
    tensor(`${module}.s2_zeros`, 'I8', [groups, rows], zeros),
  ];
}
