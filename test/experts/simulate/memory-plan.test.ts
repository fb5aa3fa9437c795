// The memory plan: worked out by hand for Qwen1.5-MoE, never beyond the budget, never less of it for more budget.
import { memoryPlan, RESERVE_BYTES, type MemoryNeeds } from '../../../lib/experts/simulate/memory-plan.js';
import { place } from '../../../lib/experts/simulate/policies.js';

// 24 layers of 60 experts of 8 650 752 weights: 2 bytes each, or 4.5 bits with a scale and a zero in 16 bits for every 64.
// The rest in 16 bits: 1 858 701 312 weights in 339 tensors; keys and values of 1024 tokens.
const qwen: MemoryNeeds = {
  layers: 24,
  experts: 60,
  used: 4,
  overfetch: 1,
  denseBytes: 2 * 1_858_701_312,
  kvBytes: 2 * 24 * 2048 * 2 * 1024,
  tensors: 339,
  reserveBytes: RESERVE_BYTES,
  fullBytes: 17_301_504,
  int4Bytes: 4_866_048,
};
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

test('Qwen1.5-MoE with 4, 8, 16, 24 and 32 GB', () => {
  // Before any expert: 3 717 402 624 + 201 326 592 + 101 700 000 + 1 000 000 000 = 5 020 429 216.
  expect(memoryPlan(4e9, qwen)).toBeUndefined();
  // 2 979 570 784 are free: 612 experts; 10 may be on their way; 240 fill four layers; 362 go to twenty.
  expect(memoryPlan(8e9, qwen)).toEqual({
    kind: 'offload',
    fullLayers: 0,
    slots: [60, 60, 60, 60, 19, 19, ...Array<number>(18).fill(18)],
    staging: 10,
    bytes: 5_020_429_216 + 612 * 4_866_048,
  });
  // All in 4 bits are 7 007 109 120; a layer more in 16 bits is 746 127 360.
  expect(memoryPlan(16e9, qwen)).toMatchObject({ kind: 'int4', fullLayers: 5, staging: 0 });
  expect(memoryPlan(24e9, qwen)).toMatchObject({ kind: 'int4', fullLayers: 16 });
  // All in 16 bits are 24 914 165 760.
  expect(memoryPlan(32e9, qwen)).toMatchObject({ kind: 'full', bytes: 5_020_429_216 + 24_914_165_760 });
});

test('never beyond the budget, and never fewer bytes of experts for more of it', () => {
  let before = 0;
  let rank = 0;
  for (let budget = 4e9; budget <= 32e9; budget += 37e6) {
    const plan = memoryPlan(budget, qwen);
    if (!plan) continue;
    expect(plan.bytes).toBeLessThanOrEqual(budget);
    const held = sum(plan.slots) + plan.fullLayers;
    const kind = ['offload', 'int4', 'full'].indexOf(plan.kind);
    expect(kind).toBeGreaterThanOrEqual(rank);
    expect(held).toBeGreaterThanOrEqual(before);
    [before, rank] = [held, kind];
  }
  expect(rank).toBe(2);
});

test('too few for four layers: layers are filled in order', () => {
  const plan = memoryPlan(5_020_429_216 + (10 + 130) * 4_866_048, qwen);
  expect(plan?.slots.slice(0, 4)).toEqual([60, 60, 10, 0]);
  expect(sum(plan?.slots ?? [])).toBe(130);
  expect(memoryPlan(5_020_429_216 + 10 * 4_866_048, qwen)?.slots).toEqual(Array<number>(24).fill(0));
  expect(memoryPlan(5_020_429_216 + 9 * 4_866_048, qwen)).toBeUndefined();
});

test('placements use what there is, and no layer gets more than it has experts', () => {
  for (const placement of ['shallow', 'uniform', 'layers'] as const) {
    for (const [layers, experts] of [
      [1, 4],
      [3, 8],
      [6, 16],
      [24, 60],
    ]) {
      for (let slots = 0; slots <= layers * experts + 3; slots += 3) {
        const placed = place(placement, layers, experts, slots);
        expect(placed).toHaveLength(layers);
        expect(sum(placed)).toBe(Math.min(slots, layers * experts));
        expect(Math.max(...placed)).toBeLessThanOrEqual(experts);
      }
    }
  }
  expect(place('layers', 3, 8, 12)).toEqual([8, 4, 0]);
  expect(place('uniform', 3, 8, 13)).toEqual([5, 4, 4]);
  expect(place('none', 3, 8, 13)).toEqual([0, 0, 0]);
});
