// Drafts in runs: what is kept, what is said and what stays in the cache, on every executor.
import { createReferenceSampler } from '../../lib/decode/reference-sampler.js';
import type { DraftWalk, Executor, KvDType, RunRequest, VerifyRule } from '../../lib/program/executor.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { ReferenceExecutor } from '../../lib/program/reference/executor.js';
import { plain } from '../decode/sampler-options.js';
import { Generator } from '../fixtures/random/generator.js';
import { emulatedDevice } from '../ops/executors.js';
import { tinyModel, vocab } from './tiny-model.js';

const { program, bytes, shape } = tinyModel(0);
const reference = new ReferenceExecutor(
  program,
  (tensor) => ({ dtype: 'F32', shape: shape(tensor), bytes: bytes(tensor) }),
  createReferenceSampler,
);
const executors: [string, Executor][] = [
  ['cpu', new NativeExecutor(program, bytes, { threads: 2 })],
  ...(emulatedDevice()
    ? [['cuda-emulated', new NativeExecutor(program, bytes, { threads: 2, deviceName: 'cuda-emulated' })] as const]
    : []),
].map(([name, executor]) => [name, executor] as [string, Executor]);
afterAll(() => executors.forEach(([, executor]) => executor.dispose()));

interface Case {
  readonly prompt: readonly number[];
  readonly pending: readonly number[]; // behind the prompt, before the draft; the last one is the root
  readonly draft: readonly number[];
  readonly parents: readonly number[]; // of the draft's rows: −1 is the root, else a place in `draft`
  readonly seed: bigint;
  readonly temperature: number;
}

function randomCase(random: Generator, tree: boolean): Case {
  const token = (): number => random.integer(0, vocab - 1);
  const draft: number[] = [];
  const parents: number[] = [];
  for (let i = random.integer(0, 7); i > 0; i--) {
    const parent = tree ? random.integer(-1, draft.length - 1) : draft.length - 1;
    const next = token();
    if (draft.some((other, index) => other === next && parents[index] === parent)) continue;
    draft.push(next);
    parents.push(parent);
  }
  return {
    prompt: Array.from({ length: random.integer(1, 12) }, token),
    pending: Array.from({ length: random.integer(1, 3) }, token),
    draft,
    parents,
    seed: BigInt(random.next()),
    temperature: random.integer(0, 2) === 0 ? 0 : 0.6,
  };
}

/** A run of all cases together; then, per case, the logits after one more token. */
async function play(executor: Executor, cases: readonly Case[], rule: VerifyRule, tree: boolean, type: KvDType) {
  const kv = executor.createKvCache({ pageSize: 4, maxPages: 400, keyType: type, valueType: type });
  const sequences = cases.map(() => kv.create());
  const samplers = cases.map(({ prompt, pending, seed, temperature }) => {
    const sampler = executor.createSampler({ ...plain, vocab, seed, temperature, presencePenalty: 0.3 });
    sampler.accept(Int32Array.from([...prompt, ...pending]));
    return sampler;
  });
  const run = (rows: readonly { tokens: readonly number[]; sequence: number }[], rest: Partial<RunRequest>) => {
    const flat = rows.flatMap(({ tokens, sequence }) => tokens.map((token, i) => ({ token, sequence, i })));
    return executor.run(kv, {
      tokens: Int32Array.from(flat, ({ token }) => token),
      positions: Int32Array.from(flat, ({ sequence, i }) => kv.length(sequence) + i),
      sequences: Int32Array.from(flat, ({ sequence }) => sequence),
      outputs: new Int32Array(),
      ...rest,
    });
  };
  await run(
    cases.map(({ prompt }, i) => ({ tokens: prompt, sequence: sequences[i] })),
    {},
  );
  const walks: DraftWalk[] = [];
  const outputs: number[] = [];
  const parents: number[] = [];
  const positions: number[] = [];
  let begin = 0;
  cases.forEach(({ pending, draft, parents: own }, i) => {
    const root = begin + pending.length - 1;
    walks.push({ output: outputs.length, rows: 1 + draft.length, sampler: samplers[i], rule, cycle: 1 });
    pending.forEach((_, k) => {
      parents.push(k === 0 ? -1 : begin + k - 1);
      positions.push(kv.length(sequences[i]) + k);
    });
    own.forEach((parent) => {
      const row = root + 1 + parent;
      parents.push(row);
      positions.push(positions[row] + 1);
    });
    for (let k = 0; k <= draft.length; k++) outputs.push(root + k);
    begin = root + 1 + draft.length;
  });
  const result = await run(
    cases.map(({ pending, draft }, i) => ({ tokens: [...pending, ...draft], sequence: sequences[i] })),
    {
      positions: Int32Array.from(positions),
      outputs: Int32Array.from(outputs),
      samplers: outputs.map(() => null),
      walks,
      ...(tree ? { parents: Int32Array.from(parents) } : {}),
    },
  );
  const said = walks.map(({ output, rows }) =>
    [...result.tokens.subarray(output, output + rows)].filter((_, row) => result.kept[output + row] === 1),
  );
  const lengths = sequences.map((sequence) => kv.length(sequence));
  const logits = new Float32Array(cases.length * vocab);
  await run(
    said.map((tokens, i) => ({ tokens: [tokens[tokens.length - 1]], sequence: sequences[i] })),
    { outputs: Int32Array.from(cases.keys()), logits },
  );
  const kept = [...result.kept];
  kv.dispose();
  return { said, kept, lengths, logits, tokens: [...result.tokens], errors: result.errors };
}

/** The same text without a draft, in one run. */
async function fresh(executor: Executor, texts: readonly (readonly number[])[], type: KvDType): Promise<Float32Array> {
  const kv = executor.createKvCache({ pageSize: 4, maxPages: 400, keyType: type, valueType: type });
  const sequences = texts.map(() => kv.create());
  const rows = texts.flatMap((text, i) => text.map((token, k) => ({ token, k, sequence: sequences[i] })));
  const logits = new Float32Array(texts.length * vocab);
  await executor.run(kv, {
    tokens: Int32Array.from(rows, ({ token }) => token),
    positions: Int32Array.from(rows, ({ k }) => k),
    sequences: Int32Array.from(rows, ({ sequence }) => sequence),
    outputs: Int32Array.from(texts, (_, i) => texts.slice(0, i + 1).flat().length - 1),
    logits,
  });
  kv.dispose();
  return logits;
}

const greatest = (values: Float32Array): number => values.indexOf(values.reduce((a, b) => Math.max(a, b)));

describe.each(executors)('%s', (name, executor) => {
  test.each([
    ['chains', false, 'F32'],
    ['trees', true, 'F32'],
    ['trees', true, 'Q8_0'],
  ] as const)('%s (%s, %s): the rows and the cache of the reference', async (_, tree, type) => {
    const random = new Generator(11, `${tree} ${type}`);
    let longest = 0;
    for (let trial = 0; trial < 6; trial++) {
      const cases = Array.from({ length: 3 }, () => randomCase(random, tree));
      // Some drafts say what the target says: greedy, along a path.
      for (const one of cases) {
        if (trial % 2 === 0 || one.draft.length === 0) continue;
        const text = [...one.prompt, ...one.pending];
        const draft = [...one.draft];
        for (let row = 0, at = -1; row < draft.length; row++) {
          if (one.parents[row] !== at) continue;
          const token = greatest(await fresh(reference, [text], type));
          if (draft.some((other, k) => k !== row && other === token && one.parents[k] === at)) break;
          draft[row] = token;
          text.push(token);
          at = row;
        }
        Object.assign(one, { draft, temperature: 0 });
      }
      const rule: VerifyRule = trial % 3 === 2 ? { name: 'relaxed', top: 10, gap: 0.5 } : { name: 'match' };
      const expected = await play(reference, cases, rule, tree, type);
      const result = await play(executor, cases, rule, tree, type);
      expect({ trial, said: result.said, kept: result.kept }).toEqual({
        trial,
        said: expected.said,
        kept: expected.kept,
      });
      expect(result.lengths).toEqual(expected.lengths);
      longest = Math.max(longest, ...result.said.map(({ length }) => length));
      // Refused rows leave no trace: the same bits as a text that never had them (on a card, as close as its kernels are).
      const texts = cases.map(({ prompt, pending }, i) => [...prompt, ...pending, ...result.said[i]]);
      const plainly = await fresh(executor, texts, type);
      if (name === 'cpu') expect(result.logits).toEqual(plainly);
      else plainly.forEach((value, i) => expect(result.logits[i]).toBeCloseTo(value, 4));
    }
    expect(longest).toBeGreaterThan(2);
  });

  test('a draft must be a sequence’s last rows, and each output is drawn or verified', async () => {
    const kv = executor.createKvCache({ maxPages: 8 });
    const sequence = kv.create();
    const sampler = executor.createSampler({ ...plain, vocab });
    const walk = { output: 0, rows: 2, sampler, rule: { name: 'match' }, cycle: 1 } as const;
    const request = {
      tokens: Int32Array.of(1, 2, 3),
      positions: Int32Array.of(0, 1, 2),
      sequences: new Int32Array(3).fill(sequence),
      outputs: Int32Array.of(1, 2),
      samplers: [null, null],
      walks: [walk],
    };
    const wrong: Partial<RunRequest>[] = [
      { walks: [{ ...walk, rows: 3 }] },
      { walks: [{ ...walk, rows: 1 }] },
      { walks: [walk, walk] },
      { outputs: Int32Array.of(0, 2) },
      { samplers: [sampler, null] },
    ];
    for (const change of wrong) await expect(executor.run(kv, { ...request, ...change })).rejects.toThrow();
    expect(kv.length(sequence)).toBe(0);
    const { kept } = await executor.run(kv, request);
    expect(kv.length(sequence)).toBe(1 + [...kept].filter((one) => one === 1).length);
  });
});
