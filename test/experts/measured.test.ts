// Costs from a profile: what belongs to experts, to the shared one, and to a whole run.
import { measuredCosts } from '../../lib/cli/bench/experts/measured.js';
import type { Profile, ProfileRow } from '../../lib/cli/bench/profile.js';

const row = (op: string, weight: string, ms: number): ProfileRow => ({
  op,
  weight,
  type: 'F16',
  calls: 1,
  ms,
  share: 0,
  bytes: 0,
  operations: 0,
  bytesPerSecond: 0,
  ofLimit: 0,
});

// Two layers, three experts of a token: 6 ms of experts, 2 of shared ones, 4 once, 8 of the rest, 1 of it outside of ops.
const decode: Profile = {
  tokens: 5,
  ms: 20,
  outsideMs: 1,
  rows: [
    row('expert_gate_up', 'ffn_gate_exps', 4),
    row('expert_down', 'ffn_down_exps', 2),
    row('gated_linear', 'ffn_gate_shexp', 1.5),
    row('linear', 'ffn_down_shexp', 0.5),
    row('linear', 'ffn_gate_inp_shexp', 0.5),
    row('linear', 'output', 4),
    row('linear', 'attn_q', 6.5),
  ],
};
// A prompt of 11 tokens; per token a little of each.
const prefill: Profile = {
  tokens: 11,
  ms: 60,
  outsideMs: 0,
  rows: [
    row('expert_gate_up', 'ffn_gate_exps', 33),
    row('linear', 'ffn_up_shexp', 7),
    row('linear', 'output', 4),
    row('linear', 'attn_q', 16),
  ],
};

test('a token costs what it was seen to cost, and rows in between lie on a line', () => {
  const costs = measuredCosts({ decode, prefill }, { layers: 2, used: 3, copySeconds: 0.01 });
  const all = 2 * (costs.dense(1) + costs.shared!(1) + 3 * costs.expert(1)) + costs.rest!(1);
  expect(all).toBeCloseTo(0.02, 12);
  expect(costs.expert(1)).toBeCloseTo(0.001, 12);
  expect(costs.shared!(1)).toBeCloseTo(0.001, 12);
  expect(costs.shared!(11)).toBeCloseTo(0.0035, 12);
  expect(costs.shared!(6)).toBeCloseTo((0.001 + 0.0035) / 2, 12);
  expect(costs.dense(11)).toBeCloseTo(0.008, 12);
  expect(costs.rest!(11)).toBeCloseTo(0.004, 12);
  // 33 ms of 11 rows in two layers with three experts each: half a millisecond of a row, less than an expert costs alone.
  expect(costs.expert(2)).toBeCloseTo(0.001, 12);
  expect(costs.expert(10)).toBeCloseTo(0.005, 12);
  expect(costs.copy('full')).toBe(0.01);
});
