// Whole models from quantised checkpoints: they say what the same weights say as floats, on both executors, up to what
// 8-bit activations lose.
import * as fs from 'node:fs';
import { writeSafetensors, type SafetensorsTensorInput } from '../../../lib/formats/safetensors-writer.js';
import { openModelFile } from '../../../lib/formats/open.js';
import { WeightStore } from '../../../lib/formats/weight-store.js';
import { buildProgram } from '../../../lib/models/registry.js';
import { numberToHalf } from '../../../lib/program/reference/quantise.js';
import { halfToNumber } from '../../../lib/program/reference/dequantise.js';
import { huggingFaceConfig, huggingFaceTensors } from '../../fixtures/random/hugging-face.js';
import { randomModel, writeRandomHuggingFace } from '../../fixtures/random-model.js';
import { ForcedRun, type Device } from '../../models/forced-run.js';
import { scratch } from '../scratch.js';
import * as write from './checkpoint-writers.js';
import { groupOf, type Linear } from './checkpoint-writers.js';

const { at } = scratch();
// Looked up once: a test runner makes every look-up of a global slow.
const { min, max, round, floor } = Math;
const random = randomModel('llama-steady');
const prompt = [1, 17, 5];
const tokens = [7, 90];
const half = (value: number): number => halfToNumber(numberToHalf(value));

interface Rounding {
  readonly bits: 4 | 8;
  /** Undefined: all columns. */
  readonly group?: number;
  readonly asymmetric?: boolean;
  readonly shuffled?: boolean;
}

/** Rounds a matrix to nearest; scales are 16-bit floats. */
function rounded(
  values: Float32Array,
  rows: number,
  columns: number,
  { bits, group = columns, asymmetric, shuffled }: Rounding,
): Linear {
  const highest = 2 ** bits - 1;
  const groups = columns / group;
  const place = (column: number): number => floor((shuffled ? (column * 37) % columns : column) / group);
  const scales = new Float64Array(rows * groups);
  const zeros = new Uint8Array(rows * groups).fill(2 ** (bits - 1));
  for (let n = 0; n < rows; ++n) {
    const [low, high] = [new Float64Array(groups), new Float64Array(groups)];
    for (let k = 0; k < columns; ++k) {
      const value = values[n * columns + k];
      low[place(k)] = min(low[place(k)], value);
      high[place(k)] = max(high[place(k)], value);
    }
    for (let g = 0; g < groups; ++g) {
      const largest = max(-low[g], high[g]);
      const scale = half(asymmetric ? (high[g] - low[g]) / highest : (2 * largest) / highest);
      scales[n * groups + g] = scale;
      if (asymmetric) zeros[n * groups + g] = min(highest, round(-low[g] / scale));
    }
  }
  const codes = new Uint8Array(rows * columns);
  for (let n = 0, i = 0; n < rows; ++n) {
    for (let k = 0; k < columns; ++k, ++i) {
      const g = n * groups + place(k);
      codes[i] = max(0, min(highest, round(values[i] / scales[g]) + zeros[g]));
    }
  }
  return {
    rows,
    columns,
    bits,
    group,
    scale: (row, g) => scales[row * groups + g],
    zero: (row, g) => zeros[row * groups + g],
    code: (row, column) => codes[row * columns + column],
    groupOf: place,
  };
}

const valuesOf = (linear: Linear): Float32Array =>
  Float32Array.from({ length: linear.rows * linear.columns }, (_, i) => {
    const [row, column] = [floor(i / linear.columns), i % linear.columns];
    const g = groupOf(linear, column);
    return linear.scale(row, g) * (linear.code(row, column) - linear.zero(row, g));
  });

interface Case extends Rounding {
  readonly name: string;
  readonly config?: Record<string, unknown>;
  readonly tensors: (module: string, linear: Linear) => SafetensorsTensorInput[];
  /** The weights that the layout holds, where that is not the rounded ones. */
  readonly values?: (linear: Linear) => Float32Array;
  /** Relative distance of logits from those of the float twin in float64. */
  readonly distance: number;
}

const exact = 3e-5; // sums of float32: up to 1.6e-5 with AVX2
const tokensRounded = 0.03;
const gptqConfig = { quant_method: 'gptq', bits: 4, group_size: 128, sym: false };
const compressedConfig = (format: string, weights: object, activations: object | null = null) => ({
  quant_method: 'compressed-tensors',
  format,
  config_groups: {
    group_0: { targets: ['Linear'], weights: { type: 'int', ...weights }, input_activations: activations },
  },
  ignore: ['lm_head'],
});
const token = { num_bits: 8, type: 'int', symmetric: true, strategy: 'token', dynamic: true };

const qoqScale = (row: number, g: number): number => 1 + ((row + g) % 7);
const qqqScale = (row: number, g: number): number => half(2 + ((3 * row + g) % 50) / 10);

const cases: Case[] = [
  {
    name: 'gptq',
    bits: 4,
    group: 128,
    asymmetric: true,
    config: gptqConfig,
    tensors: (m, l) => write.gptq(m, l, 1),
    distance: exact,
  },
  {
    name: 'gptq with columns in another order',
    bits: 4,
    group: 64,
    asymmetric: true,
    shuffled: true,
    config: { ...gptqConfig, group_size: 64, desc_act: true },
    tensors: (m, l) => write.gptq(m, l, 1),
    distance: exact,
  },
  {
    name: 'gptq_v2 of eight bits per row',
    bits: 8,
    config: { ...gptqConfig, bits: 8, sym: true, group_size: -1, checkpoint_format: 'gptq_v2' },
    tensors: (m, l) => write.gptq(m, l, 0),
    distance: exact,
  },
  {
    name: 'awq',
    bits: 4,
    group: 32,
    asymmetric: true,
    config: { quant_method: 'awq', bits: 4 },
    tensors: write.awq,
    distance: exact,
  },
  {
    name: 'compressed-tensors W4A16',
    bits: 4,
    group: 128,
    config: compressedConfig('pack-quantized', { num_bits: 4, strategy: 'group', group_size: 128, symmetric: true }),
    tensors: (m, l) => write.packed(m, l, 'F16', false),
    distance: exact,
  },
  {
    name: 'compressed-tensors W8A8',
    bits: 8,
    config: compressedConfig('int-quantized', { num_bits: 8, strategy: 'channel', symmetric: true }, token),
    tensors: (m, l) => write.bytes(m, l, 'F32', false),
    distance: tokensRounded,
  },
  {
    name: 'compressed-tensors W8A16',
    bits: 8,
    config: compressedConfig('int-quantized', { num_bits: 8, strategy: 'channel', symmetric: true }),
    tensors: (m, l) => write.bytes(m, l, 'F32', false),
    distance: exact,
  },
  {
    name: 'marlin',
    bits: 4,
    group: 128,
    config: { ...gptqConfig, checkpoint_format: 'marlin' },
    tensors: write.marlin,
    distance: exact,
  },
  {
    name: 'qqq per row',
    bits: 4,
    config: { quant_method: 'qqq', wbits: 4 },
    tensors: (m, l) => write.qqq(m, l),
    distance: tokensRounded,
  },
  {
    name: 'qqq in groups',
    bits: 4,
    group: 128,
    config: { quant_method: 'qqq', wbits: 4, group_size: 128 },
    // The scale of a row is chosen so that row and group scales together give the group's.
    tensors: (m, l) => write.qqq(m, { ...l, scale: (row) => l.scale(row, 0) / qqqScale(row, 0) }, qqqScale),
    values: (l) =>
      Float32Array.from({ length: l.rows * l.columns }, (_, i) => {
        const [row, column] = [floor(i / l.columns), i % l.columns];
        const code = (l.code(row, column) - 8) * qqqScale(row, column >> 7);
        const below = floor(code);
        const even = code - below > 0.5 || (code - below === 0.5 && below % 2 !== 0) ? below + 1 : below;
        return Math.fround(l.scale(row, 0) / qqqScale(row, 0)) * even;
      }),
    distance: tokensRounded,
  },
  {
    name: 'qserve per row',
    bits: 4,
    asymmetric: true,
    tensors: (m, l) => write.qserve(m, l),
    values: (l) =>
      Float32Array.from({ length: l.rows * l.columns }, (_, i) => {
        const row = floor(i / l.columns);
        return l.scale(row, 0) * l.code(row, i % l.columns) - half(l.scale(row, 0) * l.zero(row, 0));
      }),
    distance: tokensRounded,
  },
  {
    name: 'qserve in groups',
    bits: 4,
    group: 128,
    asymmetric: true,
    tensors: (m, l) => write.qserve(m, { ...l, scale: (row) => half(l.scale(row, 0) / 4) }, qoqScale),
    values: (l) =>
      Float32Array.from({ length: l.rows * l.columns }, (_, i) => {
        const [row, column] = [floor(i / l.columns), i % l.columns];
        const g = column >> 7;
        return half(l.scale(row, 0) / 4) * ((((l.code(row, column) - l.zero(row, g)) * qoqScale(row, g)) << 24) >> 24);
      }),
    distance: tokensRounded,
  },
];

/** Two directories: the quantised model, and one of the float values that it stands for. */
function writeBoth(one: Case, index: number): [quantised: string, twin: string] {
  const plain = huggingFaceTensors(random, 'F32');
  const isLinear = (name: string): boolean => /layers\..*_proj\.weight$/.test(name);
  const values = (tensor: SafetensorsTensorInput): Float32Array => {
    const [bytes] = [...(tensor.data as () => Iterable<Uint8Array>)()];
    return new Float32Array(bytes.slice().buffer);
  };
  const quantised: SafetensorsTensorInput[] = [];
  const twin: SafetensorsTensorInput[] = [];
  for (const tensor of plain) {
    if (!isLinear(tensor.name)) {
      quantised.push(tensor);
      twin.push(tensor);
      continue;
    }
    const [rows, columns] = tensor.shape;
    const linear = rounded(values(tensor), rows, columns, one);
    quantised.push(...one.tensors(tensor.name.replace(/\.weight$/, ''), linear));
    const kept = (one.values ?? valuesOf)(linear);
    twin.push({ ...tensor, data: () => [new Uint8Array(kept.buffer)] });
  }
  const folders = [at(`${index}`), at(`${index}-twin`)] as const;
  for (const [folder, tensors] of [
    [folders[0], quantised],
    [folders[1], twin],
  ] as const) {
    writeRandomHuggingFace(folder, random, 'F32');
    fs.rmSync(`${folder}/model.safetensors`);
    writeSafetensors(`${folder}/model.safetensors`, { tensors });
  }
  const config = huggingFaceConfig(random, 'F32') as object;
  fs.writeFileSync(
    `${folders[0]}/config.json`,
    JSON.stringify({ ...config, ...(one.config ? { quantization_config: one.config } : {}) }),
  );
  return [...folders];
}

async function logits(folder: string, device: Device): Promise<Float64Array> {
  const run = new ForcedRun(folder, { device, contextLength: 64 });
  try {
    const steps = await run.along(prompt, tokens, device === 'reference');
    return Float64Array.from(steps.flatMap((step) => Array.from(step)));
  } finally {
    run.dispose();
  }
}

function distance(found: Float64Array, wanted: Float64Array): number {
  let [error, size] = [0, 0];
  wanted.forEach((value, i) => {
    error += (found[i] - value) ** 2;
    size += value ** 2;
  });
  return Math.sqrt(error / size);
}

test.each(cases.map((one, index) => [one.name, one, index] as const))('%s', async (_, one, index) => {
  const [folder, twin] = writeBoth(one, index);
  expect([...openModelFile(folder).tensors.values()].filter(({ packed }) => packed)).toHaveLength(
    7 * random.config.layers,
  );
  const wanted = await logits(twin, 'reference');
  expect(distance(await logits(folder, 'reference'), wanted)).toBeLessThan(1e-5);
  const found = distance(await logits(folder, 'cpu'), wanted);
  expect(found).toBeLessThan(one.distance);
  if (one.distance > exact) expect(found).toBeGreaterThan(one.distance / 100); // activations were rounded indeed
});

test('columns are sorted once for all maps that read them in the same order', () => {
  const source = openModelFile(at('1'));
  const store = new WeightStore(source);
  const program = buildProgram(source.config, (tensor) => store.info(tensor), { contextLength: 64 });
  // q, k and v; the output; gate and up; down.
  expect(program.calls.filter(({ op }) => op === 'column_select')).toHaveLength(4 * source.config.layers);
});
