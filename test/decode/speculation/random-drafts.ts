// Random drafts, and native verification as tests call it.
import { tokenMask } from '../../../lib/decode/constraint.js';
import type { Drawing } from '../../../lib/decode/speculation/rules.js';
import { native, nativeCall } from '../../../lib/native.js';
import type { NativeProposal, NativeSampler, NativeWalk } from '../../../lib/native.js';
import type { SamplerOptions, VerifyRule } from '../../../lib/program/executor.js';
import { ruleSettings } from '../../../lib/program/native-walks.js';
import type { Generator } from '../../fixtures/random/generator.js';
import { plain } from '../sampler-options.js';

export interface TestDraft {
  readonly tokens: Int32Array;
  readonly parents: Int32Array;
  readonly drawing?: Drawing;
}

/** Verifies by native code; `out` [rows] and `kept` [rows]. */
export function verifyNative(
  sampler: NativeSampler,
  { tokens, parents, drawing }: TestDraft,
  logits: Float32Array,
  rule: VerifyRule,
  cycle: number,
  beyond: Pick<NativeWalk, 'reflection' | 'judge' | 'masks'> & { readonly hidden?: Float32Array } = {},
) {
  const rows = tokens.length;
  const out = new Int32Array(rows);
  const kept = new Int32Array(rows);
  const logprobs = new Float32Array(rows);
  const walk = { sampler, ...ruleSettings(rule), cycle, ...(drawing ? { proposal: proposalOf(drawing) } : {}) };
  const vocab = logits.length / (rows + (beyond.reflection?.rows.length ?? 0));
  nativeCall(() => native().verify({ ...walk, ...beyond, logits, vocab, tokens, parents, out, kept, logprobs }));
  return { out, kept, logprobs };
}

export function proposalOf({ nodes, replacement }: Drawing): NativeProposal {
  const proposal = new (native().Proposal)(replacement);
  nodes.forEach((node, row) => {
    if (!node) return;
    const ids = Int32Array.from(node.law.keys()).filter((id) => node.law[id] > 0);
    proposal.set(
      row,
      ids,
      Float32Array.from(ids, (id) => node.law[id]),
      Int32Array.from(node.drawn),
    );
  });
  return proposal;
}

/** Per row some of the tokens, or all of them; never none. */
export function randomMasks(random: Generator, rows: number, vocab: number): (Uint32Array | null)[] {
  return Array.from({ length: rows }, () => {
    if (unit(random) < 0.3) return null;
    const share = unit(random);
    const some = Array.from({ length: vocab }, (_, token) => token).filter(() => unit(random) < share);
    return tokenMask(vocab, [...some, 0]);
  });
}

export const unit = (random: Generator): number => random.next() / 2 ** 32;

/** A draft whose tokens are drawn from random laws, or chosen at random. */
export function randomDraft(
  random: Generator,
  vocab: number,
  how: 'chain' | 'tree' | 'replacement' | 'chosen',
): TestDraft {
  const tokens = [random.integer(0, vocab - 1)];
  const parents = [-1];
  const nodes: Drawing['nodes'][number][] = [];
  const rows = random.integer(1, 9);
  for (let row = 0; row < tokens.length && tokens.length < rows; row++) {
    const weights = Float64Array.from({ length: vocab }, () => Math.fround(unit(random) < 0.3 ? 0 : unit(random)));
    weights[random.integer(0, vocab - 1)] += 1;
    const law = weights.map((weight) => weight / weights.reduce((a, b) => a + b));
    const left = law.slice();
    const drawn: number[] = [];
    for (let child = how === 'chain' ? 1 : random.integer(1, 3); child > 0; child--) {
      const total = left.reduce((a, b) => a + b);
      if (!(total > 1e-9)) break;
      let target = unit(random) * total;
      const token = left.findIndex((value) => value > 0 && (target -= value) < 0);
      if (token < 0) break;
      drawn.push(token);
      if (how !== 'replacement') left[token] = 0;
    }
    if (how !== 'chosen' && unit(random) < 0.9) nodes[row] = { law, drawn };
    for (const token of new Set(drawn)) {
      tokens.push(token);
      parents.push(row);
    }
  }
  const drawing = { nodes, replacement: how === 'replacement' };
  return {
    tokens: Int32Array.from(tokens),
    parents: Int32Array.from(parents),
    ...(how === 'chosen' ? {} : { drawing }),
  };
}

/** Every option that shapes a law, now and then. */
export function randomOptions(random: Generator, vocab: number): SamplerOptions {
  const some = <T>(share: number, value: () => T, otherwise: T): T => (unit(random) < share ? value() : otherwise);
  return {
    ...plain,
    vocab: some(0.2, () => Math.max(2, vocab - 3), vocab),
    seed: BigInt(random.next()),
    temperature: some(0.2, () => 0, 0.3 + unit(random)),
    topK: some(0.4, () => random.integer(1, 60), 0),
    topP: some(0.4, () => 0.2 + 0.8 * unit(random), 1),
    minP: some(0.3, () => 0.2 * unit(random), 0),
    repetitionPenalty: some(0.3, () => 1.4, 1),
    presencePenalty: some(0.3, () => 0.8, 0),
    frequencyPenalty: some(0.3, () => 0.5, 0),
    topLogprobs: random.integer(0, 2),
  };
}
