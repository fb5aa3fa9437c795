// attention on a device: a row's bits follow from what it sees, whatever else is in the batch, for every kernel; chunks of
// the context are merged as float64 says; and which kernel serves what.
import { native } from '../../../lib/native.js';
import { cardName, emulatedDevice } from '../executors.js';
import { expectClose, expectSameBits } from '../op-case.js';
import { AttentionRun, oracle, tokens } from './attention-runs.js';
import type { Row, Shape } from './attention-runs.js';

const device = emulatedDevice();
const describeDevice = device ? describe : describe.skip;
const place = device ? { device } : {};

const shapes: readonly (readonly [string, Shape])[] = [
  ['groups of 8', { heads: 8, kvHeads: 1, keyDim: 64 }],
  ['groups of 2', { heads: 4, kvHeads: 2, keyDim: 32, pageSize: 32 }],
  ['a group of 11, two passes', { heads: 11, kvHeads: 1, keyDim: 16, valueDim: 48 }],
  ['values of 144', { heads: 6, kvHeads: 2, keyDim: 32, valueDim: 144 }],
  ['window and soft cap', { heads: 4, kvHeads: 1, keyDim: 32, window: 150, softcap: 15 }],
  ['Q8_0', { heads: 4, kvHeads: 2, keyDim: 32, valueDim: 64, keyType: 'Q8_0', valueType: 'Q8_0' }],
  ['Q8_0 of odd rows', { heads: 7, kvHeads: 1, keyDim: 96, window: 90, keyType: 'Q8_0', valueType: 'Q8_0' }],
  ['Q8_0 and F16', { heads: 4, kvHeads: 2, keyDim: 32, keyType: 'Q8_0', valueType: 'F16' }],
  ['Q4_0 of odd rows', { heads: 3, kvHeads: 1, keyDim: 96, valueDim: 32, keyType: 'Q4_0', valueType: 'Q4_0' }],
  ['Q8_0 and Q4_0', { heads: 4, kvHeads: 2, keyDim: 64, valueDim: 32, keyType: 'Q8_0', valueType: 'Q4_0' }],
  ['F32', { heads: 4, kvHeads: 2, keyDim: 48, keyType: 'F32', valueType: 'F32' }],
];

const own = (rows: readonly Row[], sequence: number): Row[] => rows.map((row) => ({ ...row, sequence }));

function expectRows(actual: readonly Float32Array[], wanted: readonly Float32Array[], what: string): void {
  expect(actual.length).toBe(wanted.length);
  actual.forEach((row, index) => expectSameBits(row, wanted[index], `${what}, row ${index}`));
}

/** A run whose sequences hold the first tokens of the text: as many as the lengths say. */
function begun(shape: Shape, text: readonly Row[], lengths: readonly number[]) {
  const run = new AttentionRun(shape, place);
  const sequences = lengths.map((length) => {
    const sequence = run.kv.create();
    run.append(text.slice(0, length), sequence);
    return sequence;
  });
  return { run, sequences };
}

describeDevice.each(shapes)('few rows, %s', (_, shape) => {
  // Around the borders of strips and chunks.
  const lengths = [1, 15, 16, 127, 128, 129, 255, 300];
  const text = tokens('text', 320, shape);
  /** Row by row, alone. */
  const alone = (from: number, count: number): Float32Array[] => {
    const { run, sequences } = begun(shape, text, [from]);
    const y = run.runInChunks(own(text.slice(from, from + count), sequences[0]), 1);
    run.dispose();
    return y;
  };

  test('is what float64 says, alone and with other sequences, with the same bits', () => {
    const { run, sequences } = begun(shape, text, lengths);
    const wanted = lengths.map((length) => {
      const [y] = alone(length, 1);
      expectClose(y, oracle(shape, text[length], text.slice(0, length + 1)), 1e-5, 2e-5);
      return y;
    });
    expectRows(run.run(lengths.map((length, i) => ({ ...text[length], sequence: sequences[i] }))), wanted, 'batch');
    run.dispose();
  });

  test('a chain to be verified has the bits of its tokens one by one', () => {
    for (const from of [3, 120, 250]) {
      const { run, sequences } = begun(shape, text, [from, 200]);
      const chain = own(text.slice(from, from + 19), sequences[0]);
      const y = run.run([{ ...text[200], sequence: sequences[1] }, ...chain]);
      expectRows(y.slice(1), alone(from, 19), `after ${from}`);
      run.dispose();
    }
  });

  test('so has the path of a tree, and what follows once it is kept', () => {
    for (const from of [5, 126, 260]) {
      const { run, sequences } = begun(shape, text, [from]);
      const path = [1, 3, 4, 8, 9];
      const parents = [-1, -1, 1, 1, 3, 2, 0, 4, 4, 8, 7];
      const wrong = tokens('wrong', parents.length, shape);
      const tree = parents.map((parent, node) => {
        const depth = path.indexOf(node);
        return { ...(depth < 0 ? wrong[node] : text[from + depth]), sequence: sequences[0], parent };
      });
      const y = run.run(tree);
      const wanted = alone(from, path.length + 2);
      expectRows(
        path.map((node) => y[node]),
        wanted.slice(0, path.length),
        `tree after ${from}`,
      );
      run.kv.keep(sequences[0], Int32Array.from(path));
      const next = from + path.length;
      expectRows(run.run(own(text.slice(next, next + 2), sequences[0])), wanted.slice(path.length), 'after the path');
      run.dispose();
    }
  });

  test('pages of any size that 16 divides, in any order', () => {
    const wanted = alone(299, 3);
    for (const pageSize of [16, 48, 128]) {
      const { run, sequences } = begun({ ...shape, pageSize }, text, [40, 299]);
      run.kv.release(sequences[0]);
      const again = run.kv.create();
      run.append(text.slice(0, 299), again);
      for (const sequence of [sequences[1], again])
        expectRows(run.runInChunks(own(text.slice(299, 302), sequence), 1), wanted, `pages of ${pageSize}`);
      run.dispose();
    }
  });
});

const prompts: readonly (readonly [string, Shape])[] = [
  ['groups of 4', { heads: 4, kvHeads: 1, keyDim: 64, pageSize: 32 }],
  ['groups of 3, 80 wide', { heads: 6, kvHeads: 2, keyDim: 80 }],
  ['128 wide, window and soft cap', { heads: 2, kvHeads: 1, keyDim: 128, window: 50, softcap: 15 }],
  ['256 wide', { heads: 2, kvHeads: 2, keyDim: 256 }],
  ['Q8_0 of odd rows', { heads: 5, kvHeads: 1, keyDim: 96, valueDim: 32, keyType: 'Q8_0', valueType: 'Q8_0' }],
  ['Q4_0 of odd rows', { heads: 5, kvHeads: 1, keyDim: 96, valueDim: 32, keyType: 'Q4_0', valueType: 'Q4_0' }],
  ['F16 and Q8_0', { heads: 2, kvHeads: 1, keyDim: 64, window: 33, keyType: 'F16', valueType: 'Q8_0' }],
  ['F32', { heads: 3, kvHeads: 1, keyDim: 48, valueDim: 144, keyType: 'F32', valueType: 'F32' }],
];

describeDevice.each(prompts)('prompts, %s', (_, shape) => {
  const text = tokens('prompt', 150, shape);
  const whole = (): Float32Array[] => {
    const { run, sequences } = begun(shape, text, [0]);
    const y = run.run(own(text, sequences[0]));
    run.dispose();
    return y;
  };

  test('are what float64 says, as far as halves go', () => {
    whole().forEach((y, row) => expectClose(y, oracle(shape, text[row], text.slice(0, row + 1)), 0, 3e-3));
  });

  test('have the same bits in any chunks of 32 rows and more, and beside other sequences', () => {
    const wanted = whole();
    for (const chunk of [32, 59, 75]) {
      const { run, sequences } = begun(shape, text, [0]);
      const y = run.runInChunks(own(text, sequences[0]), chunk);
      expectRows(y.slice(0, 128), wanted.slice(0, 128), `chunks of ${chunk}`);
      run.dispose();
    }
    const { run, sequences } = begun(shape, text, [77, 40, 0, 140]);
    const [token] = run.run([{ ...text[77], sequence: sequences[0] }]);
    run.kv.truncate(sequences[0], 77);
    const rows = [
      { ...text[77], sequence: sequences[0] },
      ...own(text.slice(40, 75), sequences[1]),
      ...own(text.slice(0, 90), sequences[2]),
      { ...text[140], sequence: sequences[3] },
    ];
    const y = run.run(rows);
    expectRows(y.slice(0, 1), [token], 'a token beside prompts');
    expectRows(y.slice(1, 36), wanted.slice(40, 75), 'first prompt');
    expectRows(y.slice(36, 126), wanted.slice(0, 90), 'second prompt');
    expectClose(y[126], oracle(shape, text[140], text.slice(0, 141)), 1e-5, 2e-5);
    run.dispose();
  });
});

describeDevice('long contexts', () => {
  test.each([4090, 8190, 9000])('%i cells, where chunks get longer', (length) => {
    const shape: Shape = { heads: 2, kvHeads: 1, keyDim: 16, pageSize: 32 };
    const text = tokens('long', length + 6, shape);
    const { run, sequences } = begun(shape, text, [length, length, 5]);
    const rows = text.slice(length);
    const single = run.runInChunks(own(rows, sequences[0]), 1);
    single.forEach((y, i) => {
      expectClose(y, oracle(shape, rows[i], text.slice(0, length + i + 1)), 1e-5, 2e-5);
    });
    const both = run.run([...own(rows, sequences[1]), { ...text[5], sequence: sequences[2] }]);
    expectRows(both.slice(0, -1), single, 'together');
    run.dispose();
  });

  test('a window that hides whole chunks', () => {
    const shape: Shape = { heads: 4, kvHeads: 1, keyDim: 32, window: 200, pageSize: 32 };
    const text = tokens('window', 1000, shape);
    const { run, sequences } = begun(shape, text, [990]);
    run.run(own(text.slice(990), sequences[0])).forEach((y, i) => {
      expectClose(y, oracle(shape, text[990 + i], text.slice(0, 991 + i)), 1e-5, 2e-5);
    });
    run.dispose();
  });
});

describeDevice('which kernel', () => {
  test('few rows are served by chunks, merged; prompts by tiles; odd dims and pages by the plain one', () => {
    const text = tokens('kernels', 3, { heads: 2, kvHeads: 1, keyDim: 24 });
    const run = new AttentionRun({ heads: 2, kvHeads: 1, keyDim: 24 }, place);
    const sequence = run.kv.create();
    expect(run.run(own(text, sequence)).length).toBe(3);
    run.dispose();
    if (cardName !== 'cuda-emulated') return; // others keep no list
    const kernels = native()
      .deviceKernels(device?.library ?? '')
      .split('\n');
    expect(kernels).toEqual(expect.arrayContaining(['decode_chunks', 'merge_chunks', 'prefill_tiles', 'attend']));
  });
});
