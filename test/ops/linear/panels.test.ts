// Panel order against its closed form: every byte of every block lies where the form says, at every level; what belongs to no
// weight is zero.
import { native } from '../../../lib/native.js';
import { dtypes, rowBytes } from '../../../lib/program/dtype.js';
import type { DType } from '../../../lib/program/dtype.js';
import { Generator } from '../../fixtures/random/generator.js';
import { isaLevels } from '../executors.js';
import { quantisedTypes } from './cases.js';

/** 32-bit words of a level's vectors: so many weight rows lie side by side. */
const lanesOf: Record<string, number> = { baseline: 4, avx2: 8, avx512: 16, neon: 4, i8mm: 4 };
/** Bytes of scale and minimum at the beginning of blocks of 32. */
const heads: Partial<Record<DType, number>> = { Q4_0: 2, Q4_1: 4, Q5_0: 2, Q5_1: 4, Q8_0: 2, IQ4_NL: 2 };

/** Bytes of `lanes` rows of so many blocks. */
function unitBytes(dtype: DType, blocks: number, lanes: number): number {
  const { block, bytes } = dtypes[dtype];
  return block === 32 ? 2 * Math.ceil(blocks / 2) * bytes * lanes : blocks * 4 * Math.ceil(bytes / 4) * lanes;
}

/** Where byte `i` of block `b` of row `row` lies. */
function place(dtype: DType, blocks: number, lanes: number, row: number, b: number, i: number): number {
  const { block, bytes } = dtypes[dtype];
  const lane = row % lanes;
  const unit = Math.floor(row / lanes) * unitBytes(dtype, blocks, lanes);
  if (block === 256) return unit + lanes * (b * 4 * Math.ceil(bytes / 4) + (i - (i % 4))) + 4 * lane + (i % 4);
  const head = heads[dtype] as number;
  const pair = unit + (b >> 1) * 2 * bytes * lanes;
  if (i >= head) {
    const word = (b % 2) * ((bytes - head) / 4) + ((i - head) >> 2);
    return pair + 4 * (word * lanes + lane) + ((i - head) % 4);
  }
  const half = 2 * (i >> 1) + (b % 2); // the scales of both blocks, their minima
  return pair + 2 * (bytes - head) * lanes + 2 * (half * lanes + lane) + (i % 2);
}

// A row, a vector's rows and one less or more, several; columns of one block, an odd number, and whole stretches of 256.
const shapes: [rows: number, blocksOf32: number, blocksOf256: number][] = [
  [1, 1, 1],
  [3, 7, 2],
  [4, 8, 1],
  [8, 2, 3],
  [15, 9, 1],
  [16, 16, 2],
  [17, 3, 1],
  [53, 11, 3],
];

describe.each(quantisedTypes)('%s', (dtype) => {
  test.each(shapes)('%i rows of %i or %i blocks', (rows, blocksOf32, blocksOf256) => {
    const { block, bytes, id } = dtypes[dtype];
    const blocks = block === 32 ? blocksOf32 : blocksOf256;
    const size = rowBytes(dtype, blocks * block);
    const generator = new Generator(11, `${dtype} ${rows} ${blocks}`);
    const stored = Uint8Array.from({ length: rows * size }, () => generator.integer(0, 255));
    for (const level of isaLevels()) {
      const lanes = lanesOf[level];
      const wanted = new Uint8Array(Math.ceil(rows / lanes) * unitBytes(dtype, blocks, lanes));
      const filled = new Uint8Array(wanted.length);
      for (let row = 0; row < rows; ++row) {
        for (let at = 0; at < size; ++at) {
          const to = place(dtype, blocks, lanes, row, Math.floor(at / bytes), at % bytes);
          wanted[to] = stored[row * size + at];
          filled[to] += 1;
        }
      }
      expect(filled.reduce((sum, times) => sum + times, 0)).toBe(stored.length);
      expect(Math.max(...filled)).toBe(1); // a form that is one to one
      for (const threads of [1, 2]) {
        const panels = native().packPanels(id, stored, rows, blocks * block, level, threads);
        expect(panels.length).toBe(wanted.length);
        const wrong = panels.findIndex((byte, i) => byte !== wanted[i]);
        if (wrong >= 0) throw new Error(`${level}: byte ${wrong} is ${panels[wrong]}, not ${wanted[wrong]}`);
      }
    }
  });
});
