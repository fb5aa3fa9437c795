// Drafts that decide what is said: as long as what was kept makes worth while, at costs that are assumed, and never by the clock.
import { assumedCosts, SteadyPlan } from '../../../lib/decode/speculation/scaling/steady-plan.js';
import { random } from './random.js';

/** A text whose tokens are kept with these probabilities per depth, as long as all before were; what it costs in plain rounds. */
function decode(
  plan: SteadyPlan,
  tokens: number,
  rateOf: (at: number) => number,
  costs: { row: number; step: number },
) {
  const next = random(40);
  const lengths: number[] = [];
  let at = 0;
  let cost = 0;
  while (at < tokens) {
    const length = plan.tokens;
    let kept = 0;
    while (kept < length && next() < rateOf(at)) kept++;
    plan.learn(length, length, kept);
    lengths.push(length);
    at += 1 + kept;
    cost += 1 + (costs.row + costs.step) * length;
  }
  return { speed: at / cost, lengths };
}

const large = assumedCosts(1e9);
const small = assumedCosts(7e6);

test('nearly as fast as the best fixed length, and none is a choice', () => {
  for (const costs of [large, small]) {
    for (const rate of [0, 0.3, 0.6, 0.8, 0.95]) {
      const fixed = Array.from({ length: 17 }, (_, length) => {
        let tokens = 1;
        for (let depth = 1; depth <= length; depth++) tokens += rate ** depth;
        return tokens / (1 + (costs.row + costs.step) * length);
      });
      const { speed } = decode(new SteadyPlan(16, costs), 4000, () => rate, costs);
      expect(speed).toBeGreaterThan(0.93 * Math.max(...fixed));
    }
    const { speed, lengths } = decode(new SteadyPlan(16, costs), 500, () => 0, costs);
    expect(speed).toBeGreaterThan(0.97);
    expect(lengths.filter((length) => length === 0).length).toBeGreaterThan(450);
  }
});

test('rests end where a text changes', () => {
  const { lengths } = decode(new SteadyPlan(16, large), 4000, (at) => (at < 1000 ? 0 : 0.9), large);
  const turn = lengths.lastIndexOf(0);
  expect(turn).toBeGreaterThan(900);
  expect(turn).toBeLessThan(1000 + 256 + 64); // a trial may fail by chance
  expect(Math.min(...lengths.slice(-50))).toBeGreaterThan(5);
});

test('decisions stand for rounds that are counted, whoever asks how often', () => {
  const plan = new SteadyPlan(8, large);
  const next = random(41);
  for (let turn = 0; turn < 200; turn++) {
    const { tokens, rounds } = plan;
    for (let round = rounds; round > 0; round--) {
      expect([plan.tokens, plan.rounds]).toEqual([tokens, round]);
      if (tokens === 0) plan.learn(0, 0, 0);
      else plan.learn(tokens, tokens, Math.floor((tokens + 1) * next()));
    }
  }
});

test('trees are drafted whole, and only where they pay', () => {
  const good = new SteadyPlan(4, large, true);
  const bad = new SteadyPlan(4, large, true);
  for (let round = 0; round < 400; round++) {
    good.learn(good.tokens * 4, good.tokens, Math.min(3, good.tokens));
    bad.learn(bad.tokens * 16, bad.tokens, Math.min(1, bad.tokens));
    for (const { tokens } of [good, bad]) expect([0, 4]).toContain(tokens);
  }
  expect([good.tokens, bad.tokens]).toEqual([4, 0]); // 4 tokens for 1.9 rounds, 2 for 4.3
  expect(new SteadyPlan(0, large).tokens).toBe(0);
});
