// The head that ends drafts: its gradient, its native twin, what it learns of a made-up drafter, and its file.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StopHead, stopGradient } from '../../../lib/decode/speculation/adapt/stop-head.js';
import { STOP_PARAMETERS, StopRule } from '../../../lib/decode/speculation/adapt/stop-rule.js';
import { LowRank } from '../../../lib/decode/speculation/adapt/low-rank.js';
import type { RunResult } from '../../../lib/program/executor.js';
import { NativeExecutor } from '../../../lib/program/native-executor.js';
import { Generator } from '../../fixtures/random/generator.js';
import { tinyModel } from '../../program/tiny-model.js';
import { plain } from '../sampler-options.js';
import { random as uniform } from '../scaling/random.js';

const randomParameters = (random: Generator): Float64Array =>
  Float64Array.from({ length: STOP_PARAMETERS }, () => random.normal());

test('the gradient is that of finite differences', () => {
  const random = new Generator(1, 'stop head');
  for (let run = 0; run < 20; run++) {
    const parameters = randomParameters(random);
    const x = Float64Array.from({ length: 4 }, () => random.normal());
    const kept = run % 2 === 0;
    const weight = 1 + (run % 3);
    const gradient = new Float64Array(STOP_PARAMETERS);
    const lossAt = (at: Float64Array): number => stopGradient(at, x, kept, weight, new Float64Array(STOP_PARAMETERS));
    expect(stopGradient(parameters, x, kept, weight, gradient)).toBeCloseTo(lossAt(parameters), 12);
    parameters.forEach((_, i) => {
      const moved = (by: number): Float64Array => parameters.map((value, j) => (j === i ? value + by : value));
      const difference = (lossAt(moved(1e-5)) - lossAt(moved(-1e-5))) / 2e-5;
      expect(Math.abs(gradient[i] - difference)).toBeLessThan(1e-6 * Math.max(1, Math.abs(difference)));
    });
  }
});

test('a run ends with the token behind which the rule ends all of its drafts', async () => {
  const { program, bytes } = tinyModel(0);
  const executor = new NativeExecutor(program, bytes, { threads: 1 });
  const random = new Generator(2, 'stop rule');
  const lengths = new Set<number>();
  for (let run = 0; run < 12; run++) {
    const kv = executor.createKvCache({ keyType: 'F16', valueType: 'F16', pageSize: 4, maxPages: 400 });
    const sequences = run % 2 === 0 ? [kv.create()] : [kv.create(), kv.create()];
    const samplers = sequences.map((_, i) =>
      executor.createSampler({ ...plain, vocab: 6, temperature: 1, seed: BigInt(2 * run + i), logprob: true }),
    );
    const values = randomParameters(random);
    values[values.length - 1] += 2;
    const rule = new StopRule(Float64Array.of(0.6, ...values));
    const told: RunResult[] = [];
    const ahead = { rounds: Int32Array.of(16), limit: 16, ends: new Int32Array(), quiet: true, stop: rule.values };
    await executor.run(kv, {
      tokens: Int32Array.from(sequences, (_, i) => 1 + i),
      positions: new Int32Array(sequences.length),
      sequences: Int32Array.from(sequences),
      outputs: Int32Array.from(sequences, (_, i) => i),
      samplers,
      ahead: { ...ahead, told: (result) => told.push(result) },
    });
    const ends = sequences.map((_, i) => rule.length(told.map(({ logprobs }) => logprobs[i])));
    expect(told).toHaveLength(Math.max(...ends));
    ends.forEach((end) => lengths.add(end));
    samplers.forEach((sampler) => sampler.dispose());
    kv.dispose();
  }
  expect(lengths.size).toBeGreaterThan(2);
  executor.dispose();
});

/** A drafter that is too sure of itself, more so the deeper it is. Texts are easy or hard for some tokens on end. */
class MadeUpDrafter {
  private hardness = 0.5;
  constructor(
    private readonly uniform: () => number,
    private readonly truth: (p: number, depth: number) => number,
  ) {}

  draft(most: number): { logprobs: number[]; right: number } {
    this.hardness = 0.8 * this.hardness + 0.2 * this.uniform();
    const logprobs: number[] = [];
    let right = 0;
    for (let depth = 0; depth < most; depth++) {
      const p = Math.min(0.999, Math.max(0.02, 1 - this.uniform() ** 2 * (0.3 + 1.2 * this.hardness)));
      logprobs.push(Math.log(p));
      if (right === depth && this.uniform() < this.truth(p, depth)) right++;
    }
    return { logprobs, right };
  }
}
const overconfident = (p: number, depth: number): number => p ** (0.6 + 0.5 * depth);

/** What a round takes, by rows, and a token of the drafter; a plain round takes 1. */
const COST = { round: 0.96, row: 0.04, step: 0.12 };
const MOST = 12;

function use(
  length: (logprobs: readonly number[]) => number,
  truth = overconfident,
  heard?: (logprobs: number[], kept: number) => void,
) {
  const drafter = new MadeUpDrafter(uniform(7), truth);
  let [tokens, accepted, wasted, cost] = [0, 0, 0, 0];
  for (let round = 0; round < 6000; round++) {
    const { logprobs, right } = drafter.draft(MOST);
    const drafted = logprobs.slice(0, length(logprobs));
    const kept = Math.min(right, drafted.length);
    heard?.(drafted, kept);
    if (round < 2000) continue; // it learns
    accepted += kept;
    wasted += drafted.length - kept;
    tokens += 1 + kept;
    cost += COST.round + COST.row * (1 + drafted.length) + COST.step * drafted.length;
  }
  return { speed: tokens / cost, accepted, wasted };
}

/** Behind the first token that is less probable. */
const ending =
  (least: number) =>
  (logprobs: readonly number[]): number => {
    const end = logprobs.findIndex((logprob) => Math.exp(logprob) < least);
    return end < 0 ? logprobs.length : end + 1;
  };

const learned = (threshold: number, rejectionWeight: number, truth = overconfident) => {
  const head = new StopHead({ threshold, rejectionWeight });
  return use(
    (logprobs) => head.rule()?.length(logprobs) ?? logprobs.length,
    truth,
    (logprobs, kept) => {
      head.hear(logprobs, kept);
      head.learn(1);
    },
  );
};

test('a learned end is faster than every fixed probability, and wastes less though more is kept', () => {
  const levels = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9].map((least) => use(ending(least)));
  const best = levels.reduce((a, b) => (b.speed > a.speed ? b : a));
  const own = learned(0.7, 3);
  expect(own.speed).toBeGreaterThan(1.02 * best.speed);
  expect(own.accepted).toBeGreaterThan(best.accepted);
  expect(own.wasted).toBeLessThan(best.wasted);
});

test('where one probability tells all, it is within 3 % of the best fixed one', () => {
  const flat = (p: number): number => p;
  const best = Math.max(
    ...[0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9].map((least) => use(ending(least), flat).speed),
  );
  expect(learned(0.7, 3, flat).speed).toBeGreaterThan(0.97 * best);
});

test('labels: what was kept, what was refused, and nothing of what was not looked at', () => {
  const heard: [number, number][] = [];
  const head = new StopHead({ threshold: 0.7, rejectionWeight: 3 });
  head.hear = (logprobs, kept) => void heard.push([logprobs.length, kept]);
  const ends = head.watch();
  const logprobs = [-0.1, -0.2, -0.3, -0.4, -0.5];
  for (const said of [[9], [1, 2, 3, 4, 5, 6], [1, 2], [1, 2, 9], []]) {
    ends.drafted([1, 2, 3, 4, 5], logprobs);
    ends.judged(said);
  }
  ends.judged([7]); // there was no draft
  expect(heard).toEqual([
    [1, 0],
    [5, 5],
    [2, 2],
    [3, 2],
    [0, 0],
    [0, 0],
  ]);
});

test('what was learned comes back from its file; files without a head, and readers that want none', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vivace-stop-'));
  try {
    const owner = { drafter: 'one', target: 'two' };
    const made = new LowRank({ rank: 2, width: 3, vocab: 4 });
    made.save(join(folder, 'without'), owner);
    made.head = new StopHead({ threshold: 0.7, rejectionWeight: 3 });
    for (let i = 0; i < 400; i++) made.head.hear([-0.1 * (i % 9), -0.2], i % 3);
    made.head.learn(100);
    expect(made.head.steps).toBeGreaterThan(10);
    made.save(join(folder, 'with'), owner);
    const read = (name: string, head: StopHead | undefined): LowRank => {
      const again = new LowRank(made.shape);
      again.head = head;
      again.restore(join(folder, name), owner);
      return again;
    };
    const fresh = (): StopHead => new StopHead({ threshold: 0.7, rejectionWeight: 3 });
    const { head } = read('with', fresh());
    expect([head?.parameters, head?.moments, head?.steps, head?.rows]).toEqual([
      made.head.parameters,
      made.head.moments,
      made.head.steps,
      made.head.rows,
    ]);
    expect(head?.rule()?.values).toEqual(made.head.rule()?.values);
    expect(read('without', fresh()).head?.rule()).toBeUndefined();
    expect(read('with', undefined).a).toEqual(made.a);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
