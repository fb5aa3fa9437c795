// Samplers and drafts of native runs, as the addon wants them.
import { expected } from '../errors.js';
import { nativeCall } from '../native.js';
import type { NativeProposal, NativeSampler, NativeSeat, NativeTree, NativeWalk } from '../native.js';
import type { DraftTree, DraftedTree, DraftWalk, Proposal, RowDrafting, RowSampler, RunRequest } from './executor.js';

export class NativeRowSampler implements RowSampler {
  constructor(readonly native: NativeSampler) {}
  accept(tokens: Int32Array): void {
    nativeCall(() => this.native.accept(tokens));
  }
  retract(tokens: Int32Array): void {
    nativeCall(() => this.native.retract(tokens));
  }
  dispose(): void {
    this.native.dispose();
  }
}

export function toNative(sampler: RowSampler | null): NativeSampler | null {
  if (sampler === null) return null;
  if (!(sampler instanceof NativeRowSampler)) throw expected('a sampler of this executor', 'samplers', sampler);
  return sampler.native;
}

export class NativeRowProposal implements Proposal {
  constructor(readonly native: NativeProposal) {}
  get size(): number {
    return this.native.size;
  }
  clear(): void {
    this.native.clear();
  }
  set(node: number, ids: Int32Array, weights: Float32Array, drawn: Int32Array): void {
    nativeCall(() => this.native.set(node, ids, weights, drawn));
  }
  read(node: number): ReturnType<Proposal['read']> {
    return this.native.read(node);
  }
}

export function nativeProposal(proposal: Proposal): NativeProposal {
  if (!(proposal instanceof NativeRowProposal)) throw expected('a proposal of this executor', 'proposal', proposal);
  return proposal.native;
}

export function nativeWalk(walk: DraftWalk): NativeWalk & { output: number; rows: number } {
  const { output, rows, sampler, rule, proposal, cycle, reflection, judge, masks } = walk;
  const own = toNative(sampler);
  if (own === null) throw expected('a sampler', 'walks', sampler);
  if (proposal && !(proposal instanceof NativeRowProposal)) {
    throw expected('a proposal of this executor', 'walks', proposal);
  }
  const settings = {
    ...ruleSettings(rule),
    ...(proposal ? { proposal: proposal.native } : {}),
    ...(reflection ? { reflection } : {}),
    ...(judge ? { judge } : {}),
    ...(masks ? { masks } : {}),
  };
  return { output, rows, sampler: own, cycle, ...settings };
}

export function nativeDrafts(drafts: NonNullable<RunRequest['drafts']>): {
  proposals: (NativeProposal | null)[];
  cycles: Float64Array;
} {
  const proposals = drafts.map((draft) => {
    if (draft === null) return null;
    if (!(draft.proposal instanceof NativeRowProposal)) throw expected('a proposal of this executor', 'drafts', draft);
    return draft.proposal.native;
  });
  return { proposals, cycles: Float64Array.from(drafts, (draft) => draft?.cycle ?? 1) };
}

export const nativeSeat = ({ rule, ...drafting }: RowDrafting): NativeSeat => ({ ...drafting, ...ruleSettings(rule) });

export function nativeTree({ output, sampler, proposal, cycle, shape, levels }: DraftTree): NativeTree {
  const own = toNative(sampler);
  if (own === null) throw expected('a sampler', 'trees', sampler);
  if (proposal && !(proposal instanceof NativeRowProposal)) {
    throw expected('a proposal of this executor', 'trees', proposal);
  }
  const fixed = 'parents' in shape;
  const nodes = fixed ? shape.parents.length : shape.nodes;
  const grown = fixed ? { depth: nodes, nodes, topK: 1, width: 1, least: 0, ...shape } : shape;
  return {
    output,
    sampler: own,
    cycle,
    ...grown,
    ...(proposal ? { proposal: proposal.native } : {}),
    ...(levels === undefined ? {} : { levels }),
    tokens: new Int32Array(nodes),
    above: new Int32Array(nodes),
    probabilities: new Float32Array(nodes),
    rows: new Int32Array(nodes),
    count: new Int32Array(1),
  };
}

export function treeOf({ tokens, above, probabilities, rows, count: [count] }: NativeTree): DraftedTree {
  return {
    tokens: tokens.subarray(0, count),
    parents: above.subarray(0, count),
    scores: probabilities.subarray(0, count),
    rows: rows.subarray(0, count),
  };
}

/** A rule in the words of cpp/decode/verify/verify.h. */
export function ruleSettings(rule: DraftWalk['rule']): { rule: number; first: number; second: number } {
  const number = ['match', 'ratio', 'block', 'typical', 'relaxed'].indexOf(rule.name);
  if (rule.name === 'typical') return { rule: number, first: rule.epsilon, second: rule.delta };
  if (rule.name === 'relaxed') return { rule: number, first: rule.top, second: rule.gap };
  return { rule: number, first: 0, second: 0 };
}
