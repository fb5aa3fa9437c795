// Drafts whose tokens were drawn from laws, verified by every rule but the plain one: the same tokens and kept rows on every executor, and
// on a card without logits leaving it.
import { createReferenceSampler } from '../../lib/decode/reference-sampler.js';
import { native } from '../../lib/native.js';
import type {
  Executor,
  KvCache,
  Proposal,
  RowSampler,
  SamplerOptions,
  VerifyRule,
} from '../../lib/program/executor.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { ReferenceExecutor } from '../../lib/program/reference/executor.js';
import { plain } from '../decode/sampler-options.js';
import { Generator } from '../fixtures/random/generator.js';
import { cardName, emulatedDevice } from '../ops/executors.js';
import { tinyModel } from './tiny-model.js';

const device = emulatedDevice();

const kinds: readonly Partial<SamplerOptions>[] = [
  {},
  { temperature: 0 },
  { temperature: 0, repetitionPenalty: 1.4, logitBias: new Map([[3, 1.5]]) },
  { topK: 6 },
  { topP: 0.7, presencePenalty: 0.5 },
  { minP: 0.1, temperature: 1.1 },
  { typicalP: 0.6 },
  { repetitionPenalty: 1.3, frequencyPenalty: 0.3, logitBias: new Map([[5, -Infinity]]) },
  { topK: 40, topP: 0.95, minP: 0.05, logprob: false },
  { topLogprobs: 3, topK: 20 },
];

const rules: readonly VerifyRule[] = [
  { name: 'ratio' },
  { name: 'block' },
  { name: 'typical', epsilon: 0.1, delta: 0.4 },
  { name: 'relaxed', top: 3, gap: 0.2 },
];

interface Draft {
  readonly tokens: number[];
  readonly parents: number[]; // −1: the root, else a place in `tokens`
  readonly laws: Map<number, { ids: Int32Array; weights: Float32Array; drawn: Int32Array }>; // by row, the root being 0
  readonly replacement: boolean;
}

/** One executor with a sequence and a sampler per kind. */
class Player {
  readonly kv: KvCache;
  private readonly sequences: number[];
  private readonly samplers: RowSampler[];

  constructor(
    readonly executor: Executor,
    vocab: number,
    prompts: readonly (readonly number[])[],
    options: readonly Partial<SamplerOptions>[],
    seed: number,
  ) {
    this.kv = executor.createKvCache({ pageSize: 4, maxPages: 600 });
    this.sequences = prompts.map(() => this.kv.create());
    this.samplers = prompts.map((prompt, i) => {
      const sampler = executor.createSampler({
        ...plain,
        vocab,
        temperature: 0.8,
        seed: BigInt(seed + i),
        ...options[i],
      });
      sampler.accept(Int32Array.from(prompt));
      return sampler;
    });
  }

  /** Reads texts that nobody draws from. */
  async read(texts: readonly (readonly number[])[]): Promise<void> {
    const rows = texts.flatMap((text, i) => text.map((token, k) => ({ token, k, sequence: this.sequences[i] })));
    await this.executor.run(this.kv, {
      tokens: Int32Array.from(rows, ({ token }) => token),
      positions: Int32Array.from(rows, ({ k }) => k),
      sequences: Int32Array.from(rows, ({ sequence }) => sequence),
      outputs: new Int32Array(),
    });
  }

  /** `logits`: [rows of all drafts, vocab], filled where it is given. */
  async verify(
    roots: readonly number[],
    drafts: readonly Draft[],
    cycle: number,
    rule: VerifyRule,
    logits?: Float32Array,
  ) {
    const tokens: number[] = [];
    const positions: number[] = [];
    const sequences: number[] = [];
    const parents: number[] = [];
    const walks = drafts.map((draft, i) => {
      const root = tokens.length;
      const rows = 1 + draft.tokens.length;
      tokens.push(roots[i], ...draft.tokens);
      parents.push(-1, ...draft.parents.map((parent) => root + 1 + parent));
      positions.push(this.kv.length(this.sequences[i]));
      for (let row = root + 1; row < root + rows; row++) positions.push(positions[parents[row]] + 1);
      for (let k = 0; k < rows; k++) sequences.push(this.sequences[i]);
      return { output: root, rows, sampler: this.samplers[i], rule, proposal: this.proposalOf(draft), cycle };
    });
    const result = await this.executor.run(this.kv, {
      tokens: Int32Array.from(tokens),
      positions: Int32Array.from(positions),
      sequences: Int32Array.from(sequences),
      parents: Int32Array.from(parents),
      outputs: Int32Array.from(tokens.keys()),
      samplers: tokens.map(() => null),
      walks,
      ...(logits && { logits }),
    });
    return {
      tokens: [...result.tokens],
      kept: [...result.kept],
      logprobs: [...result.logprobs],
      errors: result.errors,
      lengths: this.sequences.map((sequence) => this.kv.length(sequence)),
      said: walks.map(({ output, rows }) =>
        [...result.tokens.subarray(output, output + rows)].filter((_, row) => result.kept[output + row] === 1),
      ),
    };
  }

  private proposalOf({ laws, replacement }: Draft): Proposal {
    const proposal = this.executor.createProposal(replacement);
    for (const [row, { ids, weights, drawn }] of laws) proposal.set(row, ids, weights, drawn);
    return proposal;
  }
}

/** Logits after texts. */
async function logitsAfter(executor: Executor, vocab: number, texts: readonly (readonly number[])[]) {
  const kv = executor.createKvCache({ pageSize: 4, maxPages: 2000 });
  const rows = texts.flatMap((text) => {
    const sequence = kv.create();
    return text.map((token, k) => ({ token, k, sequence, last: k === text.length - 1 }));
  });
  const logits = new Float32Array(texts.length * vocab);
  await executor.run(kv, {
    tokens: Int32Array.from(rows, ({ token }) => token),
    positions: Int32Array.from(rows, ({ k }) => k),
    sequences: Int32Array.from(rows, ({ sequence }) => sequence),
    outputs: Int32Array.from([...rows.keys()].filter((row) => rows[row].last)),
    logits,
  });
  kv.dispose();
  return texts.map((_, i) => logits.subarray(i * vocab, (i + 1) * vocab));
}

function logSoftmax(logits: Float32Array, token: number): number {
  const greatest = logits.reduce((a, b) => Math.max(a, b));
  return logits[token] - greatest - Math.log(logits.reduce((sum, x) => sum + Math.exp(x - greatest), 0));
}

/** A law like the model's, of some tokens, with noise; and tokens drawn from it. */
function drawChildren(random: Generator, logits: Float32Array, count: number, replacement: boolean) {
  const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a]);
  const few = random.integer(0, 3) === 0 ? random.integer(1, 3) : random.integer(8, logits.length);
  const ids = Int32Array.from(order.slice(0, few)).sort();
  const weights = Float32Array.from(ids, (id) =>
    Math.exp((logits[id] - logits[order[0]]) / 0.7 + 0.5 * random.normal()),
  );
  const drawn: number[] = [];
  for (let k = 0; k < count; k++) {
    const open = weights.map((weight, i) => (!replacement && drawn.includes(ids[i]) ? 0 : weight));
    let left = (random.next() / 2 ** 32) * open.reduce((sum, weight) => sum + weight, 0);
    const at = open.findIndex((weight) => weight > 0 && (left -= weight) < 0);
    if (at >= 0) drawn.push(ids[at]);
  }
  return { ids, weights, drawn: Int32Array.from(drawn) };
}

/** A draft after each text, level by level. */
async function draftsAfter(
  executor: Executor,
  vocab: number,
  random: Generator,
  texts: readonly (readonly number[])[],
  shape: 'chains' | 'trees' | 'trees with replacement',
): Promise<Draft[]> {
  const replacement = shape === 'trees with replacement';
  const drafts: Draft[] = texts.map(() => ({ tokens: [], parents: [], laws: new Map(), replacement }));
  let open = texts.map((text, i) => ({ draft: drafts[i], row: 0, text: [...text] }));
  for (let level = 0; level < 4 && open.length > 0; level++) {
    const logits = await logitsAfter(
      executor,
      vocab,
      open.map(({ text }) => text),
    );
    open = open.flatMap(({ draft, row, text }, i) => {
      const count = shape === 'chains' ? 1 : random.integer(0, level === 0 ? 3 : 2);
      const law = drawChildren(random, logits[i], count, replacement);
      // Now and then children were chosen, not drawn; and a law has nothing to do with a leaf.
      if (random.integer(0, 7) > 0) draft.laws.set(row, law);
      return [...new Set(law.drawn)].map((token) => {
        draft.tokens.push(token);
        draft.parents.push(row - 1);
        return { draft, row: draft.tokens.length, text: [...text, token] };
      });
    });
  }
  return drafts;
}

describe.each([50, 700])('a vocabulary of %i tokens', (vocab) => {
  const { program, bytes, shape } = tinyModel(0, vocab);
  const reference = new ReferenceExecutor(
    program,
    (tensor) => ({ dtype: 'F32', shape: shape(tensor), bytes: bytes(tensor) }),
    createReferenceSampler,
  );
  const cpu = new NativeExecutor(program, bytes, { threads: 2 });
  const card = device && new NativeExecutor(program, bytes, { threads: 2, deviceName: cardName });
  afterAll(() => [cpu, card].forEach((executor) => executor?.dispose()));
  const prompts = (random: Generator): number[][] =>
    kinds.map(() => Array.from({ length: random.integer(2, 7) }, () => random.integer(0, vocab - 1)));

  const cases = rules.flatMap((rule) =>
    (['chains', 'trees', 'trees with replacement'] as const)
      .filter((shapes) => rule.name === 'ratio' || (shapes === 'chains') === (rule.name === 'block'))
      .filter((shapes) => rule.name === 'ratio' || shapes !== 'trees with replacement')
      .map((shapes) => ({ name: rule.name, shapes, rule })),
  );
  test.each(cases)('$shapes, by $name', async ({ shapes, rule }) => {
    const random = new Generator(5, `${shapes} ${vocab}`);
    let [drafted, kept, refused] = [0, 0, 0];
    for (let trial = 0; trial < (rule.name === 'ratio' ? 4 : 2); trial++) {
      const texts = prompts(random);
      const players = [reference, cpu, ...(card ? [card] : [])].map(
        (executor) => new Player(executor, vocab, texts, kinds, 100 * trial),
      );
      for (const player of players) await player.read(texts.map((text) => text.slice(0, -1)));
      for (let cycle = 1; cycle <= 3; cycle++) {
        const drafts = await draftsAfter(cpu, vocab, random, texts, shapes);
        const roots = texts.map((text) => text[text.length - 1]);
        const rows = drafts.reduce((sum, draft) => sum + 1 + draft.tokens.length, 0);
        const logits = players.map(() => new Float32Array(rows * vocab));
        const results = await Promise.all(
          players.map((player, i) => player.verify(roots, drafts, cycle, rule, logits[i])),
        );
        const [expected, ...others] = results.map(({ logprobs: _, ...result }) => result);
        for (const result of others) expect({ trial, cycle, ...result }).toEqual({ trial, cycle, ...expected });
        results.forEach(({ tokens, logprobs }, i) => {
          const reported = drafts.flatMap((draft, k) => Array(1 + draft.tokens.length).fill(kinds[k].logprob ?? true));
          tokens.forEach((token, row) => {
            const own = logits[i].subarray(row * vocab, (row + 1) * vocab);
            if (token < 0 || !reported[row]) expect(logprobs[row]).toBeNaN();
            else expect(logprobs[row]).toBeCloseTo(logSoftmax(own, token), 4);
          });
        });
        expected.said.forEach((said, i) => {
          texts[i].push(...said);
          drafted += drafts[i].tokens.length;
          kept += said.length - 1;
          refused += drafts[i].tokens.length > 0 && said.length === 1 ? 1 : 0;
        });
      }
      players.forEach(({ kv }) => kv.dispose());
    }
    expect(drafted).toBeGreaterThan(100);
    expect(kept).toBeGreaterThan(20);
    expect(refused).toBeGreaterThan(2);
  });

  (card ? test : test.skip)('laws go to the card, and a few bytes per row come back', async () => {
    const random = new Generator(6, `traffic ${vocab}`);
    const executor = card as NativeExecutor;
    const texts = prompts(random).slice(0, 3);
    const some = [kinds[0], kinds[1], kinds[8]];
    const player = new Player(executor, vocab, texts, some, 7);
    await player.read(texts.map((text) => text.slice(0, -1)));
    const received: number[] = [];
    for (let cycle = 1; cycle <= 5; cycle++) {
      const drafts = await draftsAfter(cpu, vocab, random, texts, 'chains');
      const before = executor.traffic().received;
      const { said } = await player.verify(
        texts.map((text) => text[text.length - 1]),
        drafts,
        cycle,
        rules[(cycle + 1) % rules.length],
      );
      received.push(executor.traffic().received - before);
      said.forEach((tokens, i) => texts[i].push(...tokens));
    }
    player.kv.dispose();
    // The first run of a shape leaves a trail of its ops.
    expect(received.slice(2)).toEqual(Array(3).fill(3 * 5 * 16));
    if (cardName !== 'cuda-emulated') return; // others keep no list
    const kernels = native().deviceKernels((device as { library: string }).library);
    for (const name of ['verify_rows', 'verify_block']) expect(kernels.split('\n')).toContain(name);
  });
});
