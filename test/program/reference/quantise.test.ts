// How keys and values are rounded: every half is itself, ties go to even, and Q8_0 and Q4_0 err by half a step at most.
import { native, nativeCall } from '../../../lib/native.js';
import { dtypes } from '../../../lib/program/dtype.js';
import { dequantiseRow, halfToNumber } from '../../../lib/program/reference/dequantise.js';
import { numberToHalf, quantiseRow } from '../../../lib/program/reference/quantise.js';
import { random } from '../../ops/op-case.js';

test('every half is itself, and between two the nearer is taken, the even one from the middle', () => {
  for (let half = 0; half < 0x7c00; ++half) {
    const value = halfToNumber(half);
    const next = half === 0x7bff ? 65536 : halfToNumber(half + 1);
    const middle = (value + next) / 2;
    const step = (next - value) / 16;
    const wrong = [
      numberToHalf(value) !== half,
      numberToHalf(-value) !== (half | 0x8000),
      numberToHalf(middle - step) !== half,
      numberToHalf(middle + step) !== half + 1,
      numberToHalf(middle) !== (half % 2 === 0 ? half : half + 1),
    ];
    if (wrong.includes(true)) throw new Error(`half ${half.toString(16)}: ${wrong.join()}`);
  }
  expect([Infinity, -Infinity, NaN, 0, -0].map(numberToHalf)).toEqual([0x7c00, 0xfc00, 0x7e00, 0, 0x8000]);
});

test('Q8_0 and Q4_0 err by half a step, F16 by half a unit, F32 not at all', () => {
  const values = Float64Array.from(random('rounding', 640, 3));
  const error = (dtype: 'F32' | 'F16' | 'Q8_0' | 'Q4_0'): number[] => {
    const back = dequantiseRow(dtype, quantiseRow(dtype, values), values.length);
    return Array.from(values, (value, i) => Math.abs(value - back[i]));
  };
  expect(Math.max(...error('F32'))).toBe(0);
  error('F16').forEach((e, i) => expect(e).toBeLessThanOrEqual(Math.abs(values[i]) * 2 ** -11));
  error('Q8_0').forEach((e, i) => {
    const block = values.subarray(i - (i % 32), i - (i % 32) + 32);
    const step = Math.max(...block.map(Math.abs)) / 127;
    expect(e).toBeLessThanOrEqual(step * (0.5 + 127 * 2 ** -11));
  });
  // The largest value has code −8; on the other side there are only seven steps, so that what is as large is a whole one off.
  error('Q4_0').forEach((e, i) => {
    const block = values.subarray(i - (i % 32), i - (i % 32) + 32);
    const extreme = block.reduce((found, value) => (Math.abs(value) > Math.abs(found) ? value : found), 0);
    const [step, ratio] = [Math.abs(extreme) / 8, (-values[i] / extreme) * 8];
    expect(e).toBeLessThanOrEqual(step * (Math.max(0.5, ratio - 7) + 8 * 2 ** -11));
  });
});

test('Q4_0 has the bytes of weights of that type, which are those of ggml', () => {
  const values = Float32Array.from(random('as weights', 3200, 3));
  values.fill(0, 64, 96);
  values.set([2, -2, 1], 128);
  const bytes = new Uint8Array(1800);
  nativeCall(() => native().quantize(dtypes.Q4_0.id, values, 1, 3200, bytes));
  expect(quantiseRow('Q4_0', Float64Array.from(values))).toEqual(bytes);
});
