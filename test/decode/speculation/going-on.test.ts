// Runs that go on with drafts of their own: the tokens of plain decoding, and the rounds that the drafts of a text give.
import { jointly } from '../../../lib/decode/speculation/scaling/joint.js';
import { paying } from '../../../lib/decode/speculation/planner.js';
import type { TokenDrafter } from '../../../lib/decode/speculation/drafter.js';
import { InputCopyDrafter } from '../../../lib/decode/speculation/drafters/input-copy.js';
import { NGramDrafter } from '../../../lib/decode/speculation/drafters/n-gram.js';
import type { NativeTokenDrafter } from '../../../lib/decode/speculation/drafters/native-drafter.js';
import { SuffixDrafter } from '../../../lib/decode/speculation/drafters/suffix.js';
import type { RunResult, SamplerOptions } from '../../../lib/program/executor.js';
import { NativeExecutor } from '../../../lib/program/native-executor.js';
import { Generator } from '../../fixtures/random/generator.js';
import { testDevices } from '../../ops/executors.js';
import { tinyModel } from '../../program/tiny-model.js';
import { plain } from '../sampler-options.js';

const { program, bytes } = tinyModel(0);
// The CPU with two numbers of threads, and a card.
const executors = testDevices().flatMap((deviceName) =>
  (deviceName === 'cpu' ? [1, 3] : [2]).map((threads) => new NativeExecutor(program, bytes, { threads, deviceName })),
);
afterAll(() => executors.forEach((executor) => executor.dispose()));

// The prompts and few tokens to choose from make the drafters right now and then.
const options: SamplerOptions = {
  ...plain,
  vocab: 6,
  temperature: 0.4,
  seed: 5n,
  frequencyPenalty: 0.05,
  topLogprobs: 2,
};
const prompts = [
  [3, 1, 4, 1, 5, 3, 1, 4],
  [2, 5, 2, 5, 2],
  [1, 2, 3, 4, 5, 1, 2],
];
/** Fewer on a card: emulation is slow. */
const stepsOn = ({ name }: NativeExecutor): number => (name === 'cpu' ? 60 : 24);

function start(executor: NativeExecutor) {
  const pageSize = executor.name === 'cpu' ? 4 : 16; // a card's fast kernels want 16
  const kv = executor.createKvCache({ keyType: 'F16', valueType: 'F16', pageSize, maxPages: 4000 });
  const samplers = prompts.map((prompt) => {
    const sampler = executor.createSampler(options);
    sampler.accept(Int32Array.from(prompt));
    return sampler;
  });
  return { kv, samplers, sequences: prompts.map(() => kv.create()) };
}

type State = ReturnType<typeof start>;

/** The rows of sequences, the last one of each an output. */
function rowsOf({ kv, sequences, samplers }: State, rows: readonly (readonly number[])[]) {
  const owners = rows.flatMap((tokens, index) => tokens.map(() => sequences[index]));
  return {
    tokens: Int32Array.from(rows.flat()),
    positions: Int32Array.from(rows.flatMap((tokens, index) => tokens.map((_, i) => kv.length(sequences[index]) + i))),
    sequences: Int32Array.from(owners),
    outputs: Int32Array.from(sequences, (sequence) => owners.lastIndexOf(sequence)),
    samplers,
  };
}

async function withoutDrafts(executor: NativeExecutor): Promise<{ token: number; logprob: number; top: unknown }[][]> {
  const state = start(executor);
  const said: { token: number; logprob: number; top: unknown }[][] = prompts.map(() => []);
  let rows: readonly (readonly number[])[] = prompts;
  for (let step = 0; step < 2 * stepsOn(executor); step++) {
    const { tokens, logprobs, top } = await executor.run(state.kv, rowsOf(state, rows));
    said.forEach((list, i) => list.push({ token: tokens[i], logprob: logprobs[i], top: top[i] }));
    rows = [...tokens].map((token) => [token]);
  }
  state.kv.dispose();
  return said;
}

const makers: (() => NativeTokenDrafter)[] = [
  () => new NGramDrafter(),
  () => new SuffixDrafter(),
  () => new InputCopyDrafter(),
];

interface Given {
  readonly room: number;
  readonly maxDraft: number;
  /** Above `maxDraft`: trees. */
  readonly maxNodes: number;
  readonly costs: Float64Array;
  readonly calibration: number;
}

/** What twins of the drafters say of each round, cut together: rows of each, by the texts that plain decoding gives. */
function expectedRows(
  makers: readonly ((() => TokenDrafter) | undefined)[],
  answers: readonly (readonly number[])[],
  givens: readonly Given[],
): { rows: number[]; kept: number[] }[] {
  const seats = makers.map((make, i) => {
    const drafter = make?.();
    drafter?.accept(Int32Array.from(prompts[i]));
    return { drafter, answer: answers[i], given: givens[i], at: 0, rows: [] as number[], kept: [] as number[] };
  });
  while (seats.every(({ at, answer, given }) => at < Math.min(given.room, answer.length))) {
    const drafts = seats.map(({ drafter, at, given }) => {
      const most = Math.min(given.maxDraft, given.room - at - 1);
      // No draft was given for the first round.
      const nodes = given.maxNodes > given.maxDraft ? Math.min(given.maxNodes, given.room - at - 1) : most;
      return drafter && at > 0 && most > 0 ? drafter.draft(most, nodes) : undefined;
    });
    const open = seats.map(({ given }, i) => drafts[i] !== undefined && given.costs.length > 0);
    const fixed = drafts.reduce((sum, draft, i) => sum + (open[i] ? 0 : (draft?.tokens.length ?? 0)), 0);
    const bids = seats.flatMap(({ given }, i) => {
      const { scores } = drafts[i] ?? {};
      return scores && open[i] ? [{ scores, calibration: given.calibration }] : [];
    });
    const { costs } = givens.find((_, i) => open[i]) ?? givens[0];
    const cuts = jointly(bids, { sequences: seats.length, costs, fixed: { rows: fixed, tokens: 0 } });
    seats.forEach((seat, i) => {
      const { drafter, answer, at } = seat;
      const { tokens = [], parents = [] } = drafts[i] ?? {};
      const nodes = (open[i] ? cuts.shift() : undefined) ?? [...tokens.keys()];
      let right = 0;
      for (let node: number | undefined = -1; node !== undefined; right++) {
        const above: number = node;
        node = nodes.find((child) => parents[child] === above && tokens[child] === answer[at + right]);
      }
      right--;
      seat.rows.push(1 + nodes.length);
      seat.kept.push(1 + right);
      drafter?.accept(Int32Array.from(answer.slice(at, at + right + 1)));
      seat.at += right + 1;
    });
  }
  for (const { drafter } of seats) drafter?.dispose();
  return seats;
}

/** Outputs of a sequence in a round. */
const rowsIn = ({ seats }: RunResult, sequence: number): number => seats?.[sequence].rows ?? 1;

test.each(executors)('tokens are those of single rounds, and rows those that pay, on $name', async (executor) => {
  const plainly = await withoutDrafts(executor);
  const random = new Generator(4, 'going on');
  let accepted = 0;
  for (let turn = 0; turn < (executor.name === 'cpu' ? 20 : 3); turn++) {
    const state = start(executor);
    const chosen = prompts.map((_, i) =>
      random.integer(0, 3) === 0 && i > 0 ? undefined : makers[random.integer(0, 2)],
    );
    // Sequences of a model know the same of its rounds, or do not cut their drafts.
    // Of rounds that are slower than any here, so that no draft loses and ends the run.
    const costs = Float64Array.from({ length: 90 }, (_, rows) => 1e6 * (1 + rows * (random.integer(1, 20) / 100)));
    const givens = prompts.map(() => ({
      room: random.integer(5, stepsOn(executor)),
      maxDraft: random.integer(0, executor.name === 'cpu' ? 9 : 4),
      maxNodes: random.integer(0, 1) * (executor.name === 'cpu' ? 20 : 7),
      costs: turn % 3 === 0 || random.integer(0, 4) === 0 ? new Float64Array() : costs,
      calibration: random.integer(10, 150) / 100,
    }));
    const drafters = chosen.map((make, i) => {
      if (!make) return null;
      const drafter = make();
      drafter.accept(Int32Array.from(prompts[i]));
      return drafter;
    });
    const limit = random.integer(2, 64);
    const told: RunResult[] = [];
    await executor.run(state.kv, {
      ...rowsOf(state, prompts),
      ahead: {
        rounds: Int32Array.of(64),
        limit,
        ends: new Int32Array(),
        drafters: drafters.map((drafter, i) =>
          drafter ? { drafter: drafter.native, ...givens[i], rule: { name: 'match' }, cycle: 1 } : null,
        ),
        told: (result) => told.push(result),
      },
    });
    // The run ends when one of its sequences has said all that it may.
    const lengths = expectedRows(
      chosen,
      plainly.map((answer) => answer.map(({ token }) => token)),
      givens.map((given, i) => (chosen[i] ? given : { ...given, room: Infinity })),
    );
    const rounds = Math.min(limit, ...lengths.map(({ rows }) => rows.length));
    expect(told).toHaveLength(rounds);
    lengths.forEach(({ rows }, i) => expect(told.map((result) => rowsIn(result, i))).toEqual(rows.slice(0, rounds)));
    state.sequences.forEach((sequence, i) => {
      const said = told.flatMap((result) => {
        const begin = prompts.slice(0, i).reduce((sum, _, before) => sum + rowsIn(result, before), 0);
        const own = Array.from({ length: rowsIn(result, i) }, (_, row) => begin + row);
        const kept = own.length === 1 ? own : own.filter((output) => result.kept[output] === 1);
        return kept.map((at) => ({ token: result.tokens[at], logprob: result.logprobs[at], top: result.top[at] }));
      });
      expect(said).toEqual(plainly[i].slice(0, said.length));
      const kept = lengths[i].kept.slice(0, rounds);
      expect(said).toHaveLength(kept.reduce((sum, count) => sum + count, 0));
      accepted += said.length - rounds;
      // Only the first round's rows count already; the cells of all others that stayed are there.
      expect(state.kv.length(sequence)).toBe(prompts[i].length);
      state.kv.commit(sequence, said.length - 1);
    });
    // The drafters have heard all of it: they go on as twins that did.
    drafters.forEach((drafter, i) => {
      if (!drafter) return;
      const twin = chosen[i]!();
      const length = lengths[i].kept.slice(0, rounds).reduce((sum, count) => sum + count, 0);
      twin.accept(Int32Array.from(prompts[i]));
      twin.accept(Int32Array.from(plainly[i].slice(0, length), ({ token }) => token));
      expect(drafter.draft(8, 8)).toEqual(twin.draft(8, 8));
      drafter.dispose();
      twin.dispose();
    });
    // The caches hold what single rounds put there: the next token is the same.
    const next = await executor.run(
      state.kv,
      rowsOf(
        state,
        prompts.map((_, i) => [plainly[i][state.kv.length(state.sequences[i]) - prompts[i].length].token]),
      ),
    );
    prompts.forEach((prompt, i) => {
      expect(next.tokens[i]).toBe(plainly[i][state.kv.length(state.sequences[i]) - prompt.length].token);
    });
    state.kv.dispose();
  }
  expect(accepted).toBeGreaterThan(executor.name === 'cpu' ? 50 : 0);
});

test('a draft ends where another token costs more than it gives', () => {
  const costs = Float64Array.of(0, 1, 1.2, 1.4, 1.6, 5);
  expect(paying([0.9, 0.8, 0.7, 0.6], costs, 1)).toBe(3);
  expect(paying([0.9, 0.8, 0.7, 0.6], costs, 0.1)).toBe(0);
  expect(paying([0.1, 0.1], costs, 2)).toBe(0);
  expect(paying([0.9, 0.8, 0.7, 0.6], new Float64Array(), 0.1)).toBe(4);
  expect(paying([0.9, 0.9, 0.9, 0.9, 0.9, 0.9], costs, 1)).toBe(3); // nothing is known of more rows
});
