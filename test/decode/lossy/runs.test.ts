// Second readings and judges in runs: every executor keeps the rows of the reference, and its cache is left with these.
import { createReferenceSampler } from '../../../lib/decode/reference-sampler.js';
import { buildRequest } from '../../../lib/decode/round-request.js';
import type { JobDraft } from '../../../lib/decode/rounds.js';
import { secondReading } from '../../../lib/decode/speculation/reflective/reading.js';
import type { Executor } from '../../../lib/program/executor.js';
import { NativeExecutor } from '../../../lib/program/native-executor.js';
import { ReferenceExecutor } from '../../../lib/program/reference/executor.js';
import { Generator } from '../../fixtures/random/generator.js';
import { testDevices } from '../../ops/executors.js';
import { tinyModel, vocab } from '../../program/tiny-model.js';
import { plain } from '../sampler-options.js';
import { entryOf } from './entry.js';

const { program, bytes, shape } = tinyModel(0);
const reference = new ReferenceExecutor(
  program,
  (tensor) => ({ dtype: 'F32', shape: shape(tensor), bytes: bytes(tensor) }),
  createReferenceSampler,
);
const executors = testDevices().map((deviceName): [string, Executor] => [
  deviceName,
  new NativeExecutor(program, bytes, { threads: 2, deviceName }),
]);
afterAll(() => executors.forEach(([, executor]) => executor.dispose()));

interface Case {
  readonly texts: readonly (readonly number[])[];
  readonly drafts: readonly JobDraft[];
  readonly temperature: number;
}

function randomCase(random: Generator, trial: number): Case {
  const token = (): number => random.integer(0, vocab - 1);
  const tree = trial % 2 === 1;
  const texts = [0, 1].map(() => Array.from({ length: random.integer(2, 8) }, token));
  const weights = Float32Array.from({ length: reference.taps['hidden'] }, () => random.normal() / 4);
  const drafts = texts.map((text, sequence): JobDraft => {
    const parents = tree ? [-1, 0, 0, 1, -1, 4] : [-1, 0, 1, 2];
    const draft = {
      tokens: Int32Array.from(parents, (_, node) => (node * 7 + token()) % vocab),
      parents: Int32Array.from(parents),
      scores: Float32Array.from(parents, (_, node) => 0.9 ** node),
    };
    const again = secondReading(
      draft,
      {
        alpha: 0.4,
        prompt: Int32Array.from({ length: 2 }, token),
        anchorTokens: 1,
        correctionFrom: trial % 3 === 0 ? 'base' : 'fused',
        fuseBonus: trial % 4 === 0,
        reflectPaths: 2,
      },
      text,
    );
    // Judges of one round may read different features.
    const feature = (sequence + trial) % 2 === 0 ? 'hidden' : 'unnormed';
    const guarded = Int32Array.from({ length: 1 + parents.length }, () => Number(random.integer(0, 4) === 0));
    return {
      tokens: draft.tokens,
      ...(tree ? { parents: draft.parents } : {}),
      rule: { name: trial % 5 === 0 ? 'ratio' : 'match' },
      cycle: 1,
      // One of the two sequences is read twice, the other one judged, and sometimes both both.
      ...(again && (sequence === 0 || trial % 3 === 1) ? { again } : {}),
      ...(sequence === 1 || trial % 3 === 1
        ? { judge: { feature, weights, bias: 0.2, bound: -0.3, guarded, longest: 0 } }
        : {}),
    };
  });
  return { texts, drafts, temperature: trial % 3 === 2 ? 0.7 : 0 };
}

async function play(executor: Executor, { texts, drafts, temperature }: Case) {
  const kv = executor.createKvCache({ pageSize: 4, maxPages: 200, keyType: 'F32', valueType: 'F32' });
  const shares = texts.map((text, i) => {
    const sampler = executor.createSampler({ ...plain, vocab, temperature, seed: BigInt(i + 3), presencePenalty: 0.2 });
    sampler.accept(Int32Array.from(text));
    const entry = entryOf(kv, text, sampler);
    return { entry, rows: text.length, draft: drafts[i] };
  });
  const { request } = buildRequest(shares, vocab, executor);
  const { tokens, kept, errors } = await executor.run(kv, request);
  const lengths = shares.map(({ entry }) => kv.length(entry.sequence));
  const used = kv.usedBytes() / kv.pageBytes;
  kv.dispose();
  const outputs = request.outputs.length;
  return { tokens: [...tokens], kept: [...kept], lengths, used, outputs, errors: errors.filter((error) => error) };
}

test.each(executors)('%s: rows, tokens and lengths of the reference', async (_, executor) => {
  const random = new Generator(12, 'runs');
  const seen = new Set<number>();
  for (let trial = 0; trial < 20; trial++) {
    const one = randomCase(random, trial);
    const expected = await play(reference, one);
    const result = await play(executor, one);
    expect({ trial, ...result, used: 0 }).toEqual({ trial, ...expected, used: 0 });
    expect(result.errors).toEqual([]);
    expect(result.used).toBe(result.lengths.reduce((sum, length) => sum + Math.ceil(length / 4), 0));
    result.kept.forEach((flags) => seen.add(flags));
  }
  // Kept by the rule, by the judge alone, and where the second reading had another favourite.
  for (const flags of [0, 1, 3, 5]) expect([...seen]).toContain(flags);
});

const cards = executors.filter(([device]) => device !== 'cpu');
// Without a card the line of testDevices says why.
(cards.length > 0 ? test : test.skip).each(cards.length > 0 ? cards : executors)(
  '%s: a round gives back tokens, no logits and no hidden states',
  async (_, card) => {
    const random = new Generator(12, 'runs');
    const executor = card as NativeExecutor;
    for (let trial = 0; trial < 4; trial++) {
      const one = randomCase(random, trial);
      const received: number[] = [];
      let outputs = 0;
      for (let time = 0; time < 3; time++) {
        const before = executor.traffic().received;
        ({ outputs } = await play(executor, one));
        received.push(executor.traffic().received - before);
      }
      // The first run of a shape leaves a trail of its ops.
      expect({ trial, received: received[2] }).toEqual({ trial, received: 16 * outputs });
    }
  },
);
