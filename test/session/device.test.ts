// Draws on a card (emulated): the tokens that the host would draw, without the logits leaving the card.
import type { RunResult, SamplerOptions } from '../../lib/program/executor.js';
import { native } from '../../lib/native.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { plain } from '../decode/sampler-options.js';
import { cardName, emulatedDevice } from '../ops/executors.js';
import { tinyModel, vocab } from '../program/tiny-model.js';

const device = emulatedDevice();
const { program, bytes } = tinyModel(0);
const cpu = new NativeExecutor(program, bytes, { threads: 2 });
const card = device && new NativeExecutor(program, bytes, { threads: 2, deviceName: cardName });
afterAll(() => [cpu, card].forEach((executor) => executor?.dispose()));

const base: SamplerOptions = { ...plain, vocab, temperature: 0.9, seed: 5n };
const kinds: Record<string, Partial<SamplerOptions>> = {
  greedy: { temperature: 0 },
  plain: {},
  'without logprobs': { logprob: false },
  defaults: { topK: 40, topP: 0.95, minP: 0.05, temperature: 0.8 },
  topK: { topK: 7 },
  nucleus: { topP: 0.6 },
  minP: { minP: 0.2 },
  typical: { typicalP: 0.5 },
  penalties: { repetitionPenalty: 1.3, presencePenalty: 0.4, frequencyPenalty: 0.2 },
  bias: {
    temperature: 0,
    logitBias: new Map([
      [3, 2],
      [7, -Infinity],
    ]),
  },
  'fewer tokens': { vocab: vocab - 9 },
  'top logprobs': { topLogprobs: 3 },
};
const prompts = Object.keys(kinds).map((_, index) => Array.from({ length: 1 + (index % 4) }, (_, i) => index + 7 * i));

/** A round per step; each kind of sampler has a sequence of its own. */
async function generate(executor: NativeExecutor, steps: number, names = Object.keys(kinds)) {
  const kv = executor.createKvCache({ pageSize: 8, maxPages: 1000 });
  const sequences = names.map(() => kv.create());
  const samplers = names.map((name, index) => {
    const sampler = executor.createSampler({ ...base, ...kinds[name] });
    sampler.accept(Int32Array.from(prompts[index]));
    return sampler;
  });
  const results: RunResult[] = [];
  const received: number[] = [];
  let rows: number[][] = names.map((_, index) => prompts[index]);
  for (let step = 0; step < steps; step++) {
    const owners = rows.flatMap((tokens, index) => tokens.map(() => sequences[index]));
    const before = executor.traffic().received;
    const result = await executor.run(kv, {
      tokens: Int32Array.from(rows.flat()),
      positions: Int32Array.from(
        rows.flatMap((tokens, index) => tokens.map((_, i) => kv.length(sequences[index]) + i)),
      ),
      sequences: Int32Array.from(owners),
      outputs: Int32Array.from(sequences, (sequence) => owners.lastIndexOf(sequence)),
      samplers,
    });
    received.push(executor.traffic().received - before);
    results.push(result);
    rows = [...result.tokens].map((token) => [token]);
  }
  samplers.forEach((sampler) => sampler.dispose());
  kv.dispose();
  return { results, received };
}

(card ? test : test.skip)('every kind of draw gives what the host draws', async () => {
  const host = await generate(cpu, 12);
  const drawn = await generate(card as NativeExecutor, 12);
  drawn.results.forEach(({ tokens, logprobs, top, errors }, step) => {
    const wanted = host.results[step];
    expect([...tokens]).toEqual([...wanted.tokens]);
    expect(errors).toEqual(wanted.errors);
    logprobs.forEach((logprob, index) => {
      if (Number.isNaN(wanted.logprobs[index])) expect(logprob).toBeNaN();
      else expect(logprob).toBeCloseTo(wanted.logprobs[index], 2);
    });
    top.forEach((list, index) =>
      expect(list?.map(([token]) => token)).toEqual(wanted.top[index]?.map(([token]) => token)),
    );
  });
  if (cardName !== 'cuda-emulated') return; // others keep no list
  const kernels = native()
    .deviceKernels((device as { library: string }).library)
    .split('\n');
  for (const name of ['greedy_slices', 'greedy_rows', 'sample_adjust', 'sample_weigh', 'sample_rows', 'top_rows'])
    expect(kernels).toContain(name);
});

(card ? test : test.skip)('a round leaves a few bytes per token on the host, and no row of logits', async () => {
  const rest = Object.keys(kinds).filter((name) => name !== 'top logprobs');
  const { received } = await generate(card as NativeExecutor, 4, rest);
  // The first run of a shape leaves a trail of its ops.
  expect(received.slice(2)).toEqual(Array(2).fill(rest.length * 16));
  const reported = await generate(card as NativeExecutor, 4, ['greedy', 'top logprobs']);
  expect(reported.received.slice(2)).toEqual(Array(2).fill(2 * 16 + 3 * 8));
});

(card ? test : test.skip)(
  'logits that somebody asks for are those of the model, whatever penalties do to the draw',
  async () => {
    const logitsOf = async (executor: NativeExecutor): Promise<Float32Array> => {
      const kv = executor.createKvCache({ pageSize: 8, maxPages: 10 });
      const sampler = executor.createSampler({ ...base, logitBias: new Map([[4, 3]]), repetitionPenalty: 1.5 });
      sampler.accept(Int32Array.of(1, 2, 3));
      const logits = new Float32Array(vocab);
      const sequences = Int32Array.of(kv.create());
      const one = { tokens: Int32Array.of(9), positions: Int32Array.of(0), outputs: Int32Array.of(0) };
      await executor.run(kv, { ...one, sequences, logits, samplers: [sampler] });
      kv.dispose();
      return logits;
    };
    const wanted = await logitsOf(cpu);
    (await logitsOf(card as NativeExecutor)).forEach((logit, token) => expect(logit).toBeCloseTo(wanted[token], 2));
  },
);

(card ? test : test.skip)('a sampler that is gone leaves the others alone', async () => {
  const executor = card as NativeExecutor;
  const kv = executor.createKvCache({ pageSize: 8, maxPages: 10 });
  const gone = executor.createSampler(base);
  gone.dispose();
  const banned = executor.createSampler({
    ...base,
    logitBias: new Map(Array.from({ length: vocab }, (_, token) => [token, -Infinity])),
  });
  const { tokens, errors } = await executor.run(kv, {
    tokens: Int32Array.of(3, 1, 2, 5),
    positions: new Int32Array(4),
    sequences: Int32Array.from({ length: 4 }, () => kv.create()),
    outputs: Int32Array.of(0, 1, 2, 3),
    samplers: [gone, executor.createSampler(base), banned, null],
  });
  expect(errors.map((error) => error?.code)).toEqual(['DISPOSED', undefined, 'NUMERIC', undefined]);
  expect([...tokens].map((token) => token >= 0)).toEqual([false, true, false, false]);
  kv.dispose();
});
