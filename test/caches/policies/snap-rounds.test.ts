// Rounds of prompts that are compressed: all rows that vote are in the last one, which neither drafts nor goes on; others are
// served as ever.
import fc from 'fast-check';
import type { Job, JobResult } from '../../../lib/decode/rounds.js';
import { Engine } from '../../../lib/engine.js';
import { FakeExecutor, FakeKv, hash } from '../../session/fake-executor.js';

const vocab = 97;

/** Every prompt of more than `budget` tokens is compressed. */
class CompressingKv extends FakeKv {
  readonly compacted: number[] = [];
  constructor(
    readonly budget: number,
    readonly window: number,
  ) {
    super();
  }
  voters(sequence: number, rows: number): number {
    return this.length(sequence) + rows <= this.budget ? 0 : Math.min(this.window, rows);
  }
  compact(sequence: number): void {
    this.compacted.push(sequence);
  }
}

test('prompts of any length, in rounds of any size, among others that decode', async () => {
  const speakers = fc.array(
    fc.record({
      length: fc.integer({ min: 1, max: 150 }),
      steps: fc.integer({ min: 1, max: 5 }),
      ahead: fc.boolean(),
      late: fc.integer({ min: 0, max: 8 }),
    }),
    { minLength: 1, maxLength: 6 },
  );
  await fc.assert(
    fc.asyncProperty(
      speakers,
      fc.integer({ min: 17, max: 70 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 48 }),
      async (all, maxRows, sharedRows, window) => {
        const executor = new FakeExecutor({ vocab });
        const engine = new Engine(executor, vocab, { maxRows, sharedRows });
        const kv = new CompressingKv(60, window);
        const sequences = await Promise.all(
          all.map(async ({ length, steps, ahead, late }) => {
            for (let turn = 0; turn < late; turn++) await new Promise((resolve) => setImmediate(resolve));
            const sequence = kv.create();
            const sampler = executor.createSampler({} as never);
            const text = Array.from({ length }, (_, index) => index % vocab);
            for (let step = 0; step < steps; step++) {
              const tokens = Int32Array.from(text.slice(kv.length(sequence)));
              const job: Job = { kv, sequence, tokens, sampler, prompt: step === 0 };
              const more = ahead ? { ahead: { limit: steps - step, ends: new Int32Array() } } : {};
              const { token } = (await engine.submit({ ...job, ...more }).done) as JobResult;
              expect(token).toBe(hash(text) % vocab);
              text.push(token);
            }
            await engine.settle(kv, sequence);
            return sequence;
          }),
        );
        const long = sequences.filter((_, index) => all[index].length > 60);
        expect([...kv.compacted].sort()).toEqual([...long].sort());
        let compressed = 0;
        for (const request of executor.requests) {
          for (const [sequence, voters] of request.compress ?? []) {
            compressed++;
            expect(request.ahead).toBeUndefined();
            const rows = request.sequences.filter((one) => one === sequence).length;
            expect(voters).toBe(window);
            expect(rows).toBeGreaterThanOrEqual(voters);
          }
        }
        expect(compressed).toBe(long.length);
      },
    ),
    { numRuns: 100 },
  );
});

test('a draft that came with a prompt is left out', async () => {
  const executor = new FakeExecutor({ vocab });
  const engine = new Engine(executor, vocab);
  const kv = new CompressingKv(10, 4);
  const job = (length: number): Job => ({
    kv,
    sequence: kv.create(),
    tokens: Int32Array.from({ length }, (_, i) => i),
    sampler: executor.createSampler({} as never),
    draft: { tokens: Int32Array.of(1, 2), rule: { name: 'match' }, cycle: 1 },
    prompt: true,
  });
  await engine.submit(job(11)).done;
  await engine.submit(job(10)).done;
  expect(
    executor.requests.map(({ tokens, walks, compress }) => [tokens.length, walks?.length, compress?.size]),
  ).toEqual([
    [11, undefined, 1],
    [12, 1, undefined],
  ]);
  expect(kv.compacted).toEqual([0]);
});
