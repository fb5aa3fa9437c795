// Random matrices as quantised checkpoints have them, and the stores that read them.
import { openSafetensors } from '../../../lib/formats/safetensors.js';
import { writeSafetensors, type SafetensorsTensorInput } from '../../../lib/formats/safetensors-writer.js';
import { splitCheckpoint } from '../../../lib/formats/hugging-face/quantised/modules.js';
import type { Scheme } from '../../../lib/formats/hugging-face/quantised/scheme.js';
import { packedTensors } from '../../../lib/formats/hugging-face/tensors.js';
import { WeightStore } from '../../../lib/formats/weight-store.js';
import type { DType } from '../../../lib/program/dtype.js';
import { halfToNumber } from '../../../lib/program/reference/dequantise.js';
import { numberToHalf } from '../../../lib/program/reference/quantise.js';
import { Generator } from '../../fixtures/random/generator.js';
import { scratch } from '../scratch.js';
import type { Linear } from './checkpoint-writers.js';

const { at } = scratch();
export const layer = 'model.layers.0.mlp.up_proj';
export const name = 'blk.0.ffn_up.weight';

export const half = (value: number): number => halfToNumber(numberToHalf(value));

interface Options {
  readonly rows: number;
  readonly columns: number;
  readonly bits: 2 | 4 | 8;
  readonly group: number;
  /** Undefined: random ones. */
  readonly zero?: number;
  readonly groupOf?: (column: number) => number;
}

/** Random codes, scales that 16-bit floats hold, zero points. */
export function linearOf({ rows, columns, bits, group, zero, groupOf: grouping }: Options): Linear {
  const generator = new Generator(4, `${rows} ${columns} ${bits} ${group}`);
  const highest = 2 ** bits - 1;
  const groups = columns / group;
  const codes = Uint8Array.from({ length: rows * columns }, () => generator.integer(0, highest));
  const scales = Float64Array.from({ length: rows * groups }, () => half(generator.integer(1, 1000) / 65536));
  const zeros = Uint8Array.from({ length: rows * groups }, () => zero ?? generator.integer(0, highest));
  return {
    rows,
    columns,
    bits,
    group,
    code: (row, column) => codes[row * columns + column],
    scale: (row, g) => scales[row * groups + g],
    zero: (row, g) => zeros[row * groups + g],
    ...(grouping ? { groupOf: grouping } : {}),
  };
}

let files = 0;
export function open(tensors: SafetensorsTensorInput[], scheme: Scheme | undefined): WeightStore {
  const path = at(`${files++}.safetensors`);
  writeSafetensors(path, { tensors });
  const stored = [...openSafetensors(path).tensors.values()].map((tensor) => ({ ...tensor, file: 0 }));
  const { modules, rest } = splitCheckpoint(stored, scheme);
  expect(rest).toEqual([]);
  return new WeightStore({ files: [path], tensors: packedTensors(modules, 'llama', new Map()) }, 2);
}

export const typeOf = (bits: number, group: number, columns: number): DType => {
  const stem = bits === 8 ? 'W8A16' : 'W4A16';
  return (group === columns ? stem : `${stem}_G${Math.min(128, group)}`) as DType;
};

export const gptqScheme = (bits: 2 | 4 | 8, symmetric: boolean, zeroPlusOne: boolean): Scheme => ({
  method: 'gptq',
  bits,
  symmetric,
  zeroPlusOne,
});

export const compressed = (options: {
  bits: 4 | 8;
  symmetric: boolean;
  groupSize?: number;
  tokens?: boolean;
}): Scheme => ({
  method: 'compressed-tensors',
  groups: [{ targets: ['Linear'], tokens: false, ...options }],
});
