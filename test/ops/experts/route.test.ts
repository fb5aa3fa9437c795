// route against the reference: every rule of choosing, ties, logits that are no numbers.
import { ProgramBuilder, type Routing } from '../../../lib/program/builder.js';
import type { Program } from '../../../lib/program/program.js';
import { ReferenceProgram } from '../../../lib/program/reference/interpreter.js';
import { emulatedDevice, isaLevels, runNative } from '../executors.js';
import { expectClose, expectSameBits, random } from '../op-case.js';

const plain: Routing = {
  used: 2,
  scoring: 'softmax',
  normalise: false,
  scale: 1,
  groups: 1,
  groupsUsed: 1,
  groupScore: 'max',
};

interface Case {
  readonly name: string;
  readonly experts: number;
  readonly rule: Routing;
  readonly bias?: boolean;
}

const cases: Case[] = [
  { name: 'Mixtral', experts: 8, rule: { ...plain, normalise: true } },
  { name: 'Qwen1.5-MoE', experts: 60, rule: { ...plain, used: 4 } },
  { name: 'Qwen3-MoE', experts: 128, rule: { ...plain, used: 8, normalise: true } },
  { name: 'DeepSeek-MoE', experts: 64, rule: { ...plain, used: 6, scale: 1.5 } },
  { name: 'DeepSeek-V2', experts: 40, rule: { ...plain, used: 6, groups: 8, groupsUsed: 3, scale: 16 } },
  {
    name: 'DeepSeek-V3',
    experts: 64,
    bias: true,
    rule: { used: 8, scoring: 'sigmoid', normalise: true, scale: 2.5, groups: 8, groupsUsed: 4, groupScore: 'top2' },
  },
  {
    name: 'sigmoid without a bias',
    experts: 9,
    rule: { ...plain, scoring: 'sigmoid', groups: 3, groupsUsed: 2, groupScore: 'top2' },
  },
  { name: 'all experts', experts: 5, rule: { ...plain, used: 5 } },
  { name: 'one expert', experts: 1, rule: { ...plain, used: 1 } },
  { name: 'groups of one', experts: 6, rule: { ...plain, groups: 6, groupsUsed: 3, groupScore: 'top2' } },
];

function programs({
  experts,
  rule,
  bias,
}: Pick<Case, 'experts' | 'rule' | 'bias'>): Record<'ids' | 'weights', Program> {
  const build = (shows: 'ids' | 'weights'): Program => {
    const builder = new ProgramBuilder('route', () => undefined);
    const logits = builder.input('logits', 'F32', 'rows', experts);
    const correction = bias ? builder.constant('bias', 1, experts, random('bias', experts, 0.3)) : undefined;
    return builder.finish({ y: builder.route(logits, correction, rule)[shows] });
  };
  return { ids: build('ids'), weights: build('weights') };
}

const none = (): never => {
  throw new Error('no weights');
};

const card = 'card';
const places = (): string[] => [...isaLevels(), ...(emulatedDevice() ? [card] : [])];

function run(program: Program, logits: Float32Array, place: string, threads: number): Float32Array {
  const variant = place === card ? { device: emulatedDevice() } : { isa: place, threads, fuse: true };
  return runNative(program, none, { logits }, variant)['y'];
}

/** Ids are whole numbers in memory that the test reads as floats. */
const asIds = (y: Float32Array): Int32Array => new Int32Array(y.buffer, y.byteOffset, y.length);

test.each(cases)('$name', (one) => {
  const { ids, weights } = programs(one);
  const rows = 33;
  const logits = random(one.name, rows * one.experts, 2);
  const wanted = {
    ids: new ReferenceProgram(ids, none).run({ logits })['y'],
    weights: new ReferenceProgram(weights, none).run({ logits })['y'],
  };
  for (const isa of places()) {
    const found = run(ids, logits, isa, 1);
    expect([...asIds(found)]).toEqual([...wanted.ids]);
    expectSameBits(run(ids, logits, isa, 3), found, 'three threads');
    const counts = run(weights, logits, isa, 2);
    expectClose(counts, wanted.weights, 2e-6, 1e-9);
    const { used } = one.rule;
    const alone = logits.slice(5 * one.experts, 6 * one.experts);
    expectSameBits(run(weights, alone, isa, 2), counts.slice(5 * used, 6 * used), 'a row alone');
  }
});

test('of equal logits the lower id is taken, first', () => {
  const { ids } = programs({ experts: 6, rule: { ...plain, used: 3 } });
  const logits = Float32Array.of(...[1, 2, 2, 0, 2, 2], ...[0, 0, 0, 0, 0, 0], ...[-5, -5, 7, -5, 7, -6]);
  for (const isa of places()) {
    expect([...asIds(run(ids, logits, isa, 1))]).toEqual([1, 2, 4, 0, 1, 2, 2, 4, 0]);
  }
});

test('logits that differ too little for their scores still order the experts', () => {
  const { ids } = programs({ experts: 3, rule: { ...plain, used: 1, scoring: 'sigmoid' } });
  for (const isa of places()) expect([...asIds(run(ids, Float32Array.of(40, 41, 39), isa, 1))]).toEqual([1]);
});

test('whatever the logits are, ids are different experts, and a NaN is chosen last', () => {
  for (const one of cases) {
    const { experts, rule } = one;
    const { ids } = programs(one);
    const strange = [NaN, Infinity, -Infinity, 1e38, -1e38, 0];
    const logits = Float32Array.from({ length: 12 * experts }, (_, i) =>
      i < experts ? NaN : strange[(i * 7 + (i >> 3)) % 6],
    );
    for (const isa of places()) {
      const found = asIds(run(ids, logits, isa, 2));
      for (let row = 0; row < 12; ++row) {
        const its = [...found.subarray(row * rule.used, (row + 1) * rule.used)];
        expect(new Set(its).size).toBe(rule.used);
        expect(its.every((id) => id >= 0 && id < experts)).toBe(true);
      }
    }
  }
  const { ids } = programs({ experts: 4, rule: { ...plain, used: 3 } });
  for (const isa of places()) {
    expect([...asIds(run(ids, Float32Array.of(NaN, 1, NaN, 0), isa, 1))]).toEqual([1, 3, 0]);
  }
});

test('what does not fit is refused', () => {
  const build = (experts: number, rule: Partial<Routing>) => () => programs({ experts, rule: { ...plain, ...rule } });
  for (const [experts, rule] of [
    [4, { used: 5 }],
    [1025, {}],
    [9, { groups: 2 }],
    [8, { groups: 4, groupsUsed: 5 }],
    [8, { used: 3, groups: 4, groupsUsed: 1 }],
  ] as const) {
    expect(build(experts, rule)).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH', message: expect.stringContaining('route') }),
    );
  }
});
