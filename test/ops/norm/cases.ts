// Cases of rms_norm, layer_norm, softmax and log_softmax; tests check them, benches time them.
import { random } from '../op-case.js';
import type { OpCase } from '../op-case.js';

/** [rows, groups, width]: norms of layers and of heads, and odd widths. */
const shapes = [
  [1, 1, 1],
  [3, 1, 7],
  [2, 5, 16],
  [4, 3, 33],
  [9, 1, 100],
  [2, 32, 128],
  [1, 1, 4096],
] as const;

const norms = (op: 'rms_norm' | 'layer_norm', sizes: readonly number[], withBias: readonly boolean[]): OpCase[] =>
  shapes.flatMap(([rows, groups, width]) =>
    sizes.flatMap((size) =>
      withBias.map((bias) => ({
        name: `${op} [${rows}, ${groups} · ${width}] of values around ${size}${bias ? ' with bias' : ''}`,
        build: (builder, input) => {
          const x = input('x', groups * width);
          const weight = builder.constant('weight', 1, width, random(`${op} weight`, width));
          if (op === 'rms_norm') return builder.rmsNorm(x, weight, 1e-5);
          const b = bias ? builder.constant('bias', 1, width, random('bias', width)) : undefined;
          return builder.layerNorm(x, weight, b, 1e-5);
        },
        inputs: {
          x: random(`${op} x`, rows * groups * width, size).map((value) => value + (op === 'layer_norm' ? size : 0)),
        },
        relative: 1e-6,
        // What is subtracted as the mean is rounded; outputs are around 1.
        absolute: op === 'layer_norm' ? 2e-6 : 0,
      })),
    ),
  );

// A row of zeros divides by √ε alone; a large one must not lose its mean.
export const rmsNorm = norms('rms_norm', [0, 1e-4, 1, 1e4], [false]);
export const layerNorm = norms('layer_norm', [0, 1, 100], [false, true]);

/** Up to a vocabulary, which is cut into pieces. */
const rows = [
  [1, 1],
  [3, 5],
  [5, 16],
  [2, 77],
  [2, 4096],
  [2, 4097],
  [1, 32003],
] as const;

const softmaxes = (op: 'softmax' | 'logSoftmax'): OpCase[] =>
  rows.flatMap(([count, columns]) =>
    [1, 30, 1000].map((size) => ({
      name: `${op} [${count}, ${columns}] of values around ${size}`,
      build: (builder, input) => builder[op](input('x', columns)),
      inputs: { x: random(op, count * columns, size) },
      // x − max is rounded: an error of |x − max| · 6e-8 in the exponent.
      relative: op === 'softmax' ? 1e-6 + 2e-7 * size : 3e-7,
      absolute: op === 'softmax' ? 1e-38 : 3e-7 * size,
    })),
  );

export const softmax = softmaxes('softmax');
export const logSoftmax = softmaxes('logSoftmax');
