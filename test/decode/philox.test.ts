// The random numbers are Philox4x32-10: the known answers of its authors' library.
import { philox, philoxUniform } from '../../lib/decode/philox.js';

const ones = 0xffff_ffff_ffff_ffffn;
const hex = (words: readonly number[]): string => words.map((word) => word.toString(16).padStart(8, '0')).join(' ');

test('the known answers', () => {
  expect(hex(philox(0n, 0n, 0n))).toBe('6627e8d5 e169c58d bc57ac4c 9b00dbd8');
  expect(hex(philox(ones, ones, ones))).toBe('408f276d 41c83b0e a20bc7c6 6d5451fd');
  expect(hex(philox(0x299f31d0a4093822n, 0x85a308d3243f6a88n, 0x0370734413198a2en))).toBe(
    'd16cfe09 94fdcceb 5001e420 24126ea1',
  );
});

test('uniform numbers lie in [0, 1) and have their mean', () => {
  let sum = 0;
  for (let index = 0n; index < 10000n; index++) {
    const value = philoxUniform(42n, index);
    expect(value >= 0 && value < 1).toBe(true);
    sum += value;
  }
  expect(Math.abs(sum / 10000 - 0.5)).toBeLessThan(0.015);
});
