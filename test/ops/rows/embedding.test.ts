// embedding against the reference for every weight format, and what foreign tokens give.
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { dtypes } from '../../../lib/program/dtype.js';
import type { DType } from '../../../lib/program/dtype.js';
import { ReferenceProgram } from '../../../lib/program/reference/interpreter.js';
import { expectSameBits, random } from '../op-case.js';
import { runNative, variantsAndCard } from '../executors.js';
import { quantise, weightTypes } from '../linear/cases.js';

const vocab = 11;

function embedding(dtype: DType, width: number, scale: number) {
  const builder = new ProgramBuilder('embedding', () => ({ dtype, shape: [vocab, width] }));
  const tokens = builder.input('tokens', 'I32', 'rows');
  return builder.finish({ y: builder.embedding(builder.weight('weight', [vocab, width]), tokens, scale) });
}

const cases = weightTypes.flatMap((dtype) =>
  (dtypes[dtype].block === 1 ? [1, 37, 256] : [dtypes[dtype].block, 768]).map((width) => [dtype, width] as const),
);

describe.each(cases)('%s, width %d', (dtype, width) => {
  const bytes = quantise(dtype, random('embedding', vocab * width), vocab, width);

  test.each([1, 0.5, Math.sqrt(width)])('times %d', (scale) => {
    const program = embedding(dtype, width, scale);
    const tokens = Int32Array.of(3, 0, 10, 3, 7);
    const plain = embedding(dtype, width, 1);
    const { y } = new ReferenceProgram(plain, () => ({ dtype, shape: [vocab, width], bytes })).run({ tokens });
    // Values are rounded before the product with the scale, which is rounded to 32 bits itself.
    const wanted = Float32Array.from(y, (value) => Math.fround(value) * Math.fround(scale));
    for (const [name, variant] of variantsAndCard()) {
      const found = runNative(program, () => bytes, { tokens }, variant)['y'];
      expectSameBits(found, wanted, name);
    }
  });

  test('a token outside the vocabulary gives zeros', () => {
    const program = embedding(dtype, width, 2);
    const tokens = Int32Array.of(-1, vocab, 1, 2 ** 31 - 1, -(2 ** 31));
    for (const [name, variant] of variantsAndCard()) {
      const { y } = runNative(program, () => bytes, { tokens }, variant);
      const { y: one } = runNative(program, () => bytes, { tokens: tokens.slice(2, 3) }, variant);
      const wanted = new Float32Array(5 * width);
      wanted.set(one, 2 * width);
      expectSameBits(y, wanted, name);
    }
  });
});
