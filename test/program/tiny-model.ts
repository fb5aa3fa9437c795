// A language model of a few thousand random F32 weights, for tests that run one program on several executors.
import { ProgramBuilder } from '../../lib/program/builder.js';
import type { Program, Value } from '../../lib/program/program.js';
import { random } from '../ops/op-case.js';

export const vocab = 50;
const [layers, heads, kvHeads, headDim, hidden, inner] = [2, 4, 2, 32, 48, 80];

type Shape = readonly [number] | readonly [number, number];
const layerShapes: Record<string, Shape> = { norm: [hidden] };
for (let layer = 0; layer < layers; ++layer) {
  Object.assign(layerShapes, {
    [`${layer}.norm`]: [hidden],
    [`${layer}.q`]: [heads * headDim, hidden],
    [`${layer}.k`]: [kvHeads * headDim, hidden],
    [`${layer}.v`]: [kvHeads * headDim, hidden],
    [`${layer}.o`]: [hidden, heads * headDim],
    [`${layer}.gate`]: [inner, hidden],
    [`${layer}.up`]: [inner, hidden],
    [`${layer}.down`]: [hidden, inner],
  });
}

export interface TinyModel {
  readonly program: Program;
  readonly bytes: (tensor: string) => Uint8Array;
  readonly shape: (tensor: string) => readonly number[];
}

export function tinyModel(window = 0, tokenCount = vocab): TinyModel {
  const shapes: Record<string, Shape> = { ...layerShapes, embedding: [tokenCount, hidden] };
  const builder = new ProgramBuilder('tiny', (tensor) => {
    const shape = shapes[tensor];
    return shape && { dtype: 'F32', shape };
  });
  const weight = (tensor: string) => builder.weight(tensor, shapes[tensor]);
  const tokens = builder.input('tokens', 'I32', 'rows');
  const positions = builder.input('positions', 'I32', 'rows');
  const outputRows = builder.input('output_rows', 'I32', 'outputs');
  const frequencies = Float32Array.from({ length: headDim / 2 }, (_, i) => 1000 ** ((-2 * i) / headDim));
  const table = builder.ropeTable(positions, builder.constant('frequencies', 1, headDim / 2, frequencies));
  let x = builder.embedding(weight('embedding'), tokens);
  const taps: Record<string, Value> = {};
  for (let layer = 0; layer < layers; ++layer) {
    taps[`residual.${layer}`] = x;
    const normed = builder.rmsNorm(x, weight(`${layer}.norm`), 1e-5);
    const q = builder.rope(builder.linear(normed, weight(`${layer}.q`)), table, heads, 'halves');
    const k = builder.rope(builder.linear(normed, weight(`${layer}.k`)), table, kvHeads, 'halves');
    builder.kvWrite(k, builder.linear(normed, weight(`${layer}.v`)), layer);
    const options = { layer, heads, valueDim: headDim, scale: headDim ** -0.5, window: layer === 0 ? window : 0 };
    x = builder.add(x, builder.linear(builder.attention(q, options), weight(`${layer}.o`)));
    const again = builder.rmsNorm(x, weight(`${layer}.norm`), 1e-5);
    const gated = builder.gatedActivation(
      builder.linear(again, weight(`${layer}.gate`)),
      builder.linear(again, weight(`${layer}.up`)),
      'silu',
    );
    x = builder.add(x, builder.linear(gated, weight(`${layer}.down`)));
  }
  const last = builder.rmsNorm(builder.rowSelect(x, outputRows), weight('norm'), 1e-5);
  const logits = builder.linear(last, weight('embedding'));
  const program = builder.finish(
    { logits },
    { layers, kvHeads, keyDim: headDim, valueDim: headDim },
    { taps: { ...taps, hidden: last, unnormed: x } },
  );

  const known = new Map<string, Uint8Array>();
  const bytes = (tensor: string): Uint8Array => {
    const [rows, columns = 1] = shapes[tensor];
    const data =
      known.get(tensor) ?? new Uint8Array(random(tensor, rows * columns, tensor.endsWith('norm') ? 1 : 0.2).buffer);
    known.set(tensor, data);
    return data;
  };
  return { program, bytes, shape: (tensor) => shapes[tensor] };
}
