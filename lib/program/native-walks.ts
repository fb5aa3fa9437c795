// Samplers and drafts of native runs, as the addon wants them.
import { expected } from '../errors.js';
import { nativeCall } from '../native.js';
import { measures } from './executor.js';
import type {
  NativeKvCache,
  NativeProposal,
  NativeRequest,
  NativeRound,
  NativeSampler,
  NativeSeat,
  NativeShape,
  NativeTree,
  NativeWalk,
} from '../native.js';
import type {
  DraftTree,
  DraftedTree,
  DraftWalk,
  KvCache,
  Proposal,
  RowDrafting,
  RowSampler,
  RunRequest,
  RunResult,
  TreeShape,
} from './executor.js';
import type { Program } from './program.js';

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

export function nativeWalk(walk: DraftWalk, { outputs }: Program): NativeWalk & { output: number; rows: number } {
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
    ...(judge ? { judge: { ...judge, value: outputs[judge.feature]?.id ?? -1 } } : {}),
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

/** `idOf`: of a value that the run taps. */
const nativeSeat = (
  { rule, taps, judge, prober, ...drafting }: RowDrafting,
  idOf: (tap: string) => number,
): NativeSeat => ({
  ...drafting,
  ...(prober ? { prober: { ...prober, sampler: toNative(prober.sampler) as NativeSampler } } : {}),
  ...(judge ? { judge: { ...judge, value: idOf(judge.feature) } } : {}),
  ...ruleSettings(rule),
  ...(taps ? { taps: Int32Array.from(taps, idOf) } : {}),
});

export function nativeTree({ output, sampler, proposal, cycle, shape, levels }: DraftTree): NativeTree {
  const own = toNative(sampler);
  if (own === null) throw expected('a sampler', 'trees', sampler);
  if (proposal && !(proposal instanceof NativeRowProposal)) {
    throw expected('a proposal of this executor', 'trees', proposal);
  }
  const nodes = 'parents' in shape ? shape.parents.length : shape.nodes;
  return {
    output,
    sampler: own,
    cycle,
    ...nativeShape(shape, nodes),
    ...(proposal ? { proposal: proposal.native } : {}),
    ...(levels === undefined ? {} : { levels }),
    tokens: new Int32Array(nodes),
    above: new Int32Array(nodes),
    probabilities: new Float32Array(nodes),
    rows: new Int32Array(nodes),
    count: new Int32Array(1),
  };
}

export function nativeShape(shape: TreeShape, nodes: number): NativeShape {
  const fixed = { depth: Math.max(nodes, 1), nodes: Math.max(nodes, 1), topK: 1, width: 1, least: 0 };
  return 'parents' in shape ? { ...fixed, ...shape } : { ...shape, nodes };
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
  const number = ['match', 'ratio', 'block', 'typical', 'relaxed', 'divergence'].indexOf(rule.name);
  if (rule.name === 'typical') return { rule: number, first: rule.epsilon, second: rule.delta };
  if (rule.name === 'relaxed') return { rule: number, first: rule.top, second: rule.gap };
  if (rule.name === 'divergence') return { rule: number, first: rule.bound, second: measures.indexOf(rule.measure) };
  return { rule: number, first: 0, second: 0 };
}

export function nativeAhead(
  { drafters, ...ahead }: NonNullable<RunRequest['ahead']>,
  { outputs }: Program,
  told: NonNullable<NativeRequest['ahead']>['told'],
): NonNullable<NativeRequest['ahead']> {
  const idOf = (tap: string): number => outputs[tap].id;
  return { ...ahead, ...(drafters ? { drafters: drafters.map((one) => one && nativeSeat(one, idOf)) } : {}), told };
}

export function seatsOf(
  rows: Int32Array,
  { depths, probed, hoped, draftMs }: Partial<NativeRound>,
): RunResult['seats'] {
  const of = (values: ArrayLike<number> | undefined, seat: number): number => values?.[seat] ?? 0;
  return Array.from(rows, (own, i) => {
    return { rows: own, depth: of(depths, i), probed: of(probed, i), hoped: of(hoped, i), draftMs: of(draftMs, i) };
  });
}

/** What `NativeExecutable.run` says of an output. */
export type Report = Float64Array | string | null | undefined;

export function pairs(flat: Report): (readonly [number, number])[] | null {
  if (!flat || typeof flat === 'string') return null;
  return Array.from({ length: flat.length / 2 }, (_, index) => [flat[2 * index], flat[2 * index + 1]] as const);
}

/** The rows of a run's first round, without those of probes and of drafts that were refused; of probes no output is in `kept`. */
export function commitRows(kv: KvCache, request: RunRequest, { kept, seats }: RunResult): void {
  const { sequences, outputs, walks = [], ahead } = request;
  const rows = new Map<number, number>();
  const count = (sequence: number, more: number): void => void rows.set(sequence, (rows.get(sequence) ?? 0) + more);
  for (const sequence of sequences) count(sequence, 1);
  const owners = [...new Set(Array.from(outputs, (row) => sequences[row]))];
  const probes = owners.map((_, place) => ahead?.drafters?.[place]?.prober ?? { rows: 0, outputs: 0 });
  owners.forEach((sequence, place) => count(sequence, -probes[place].rows));
  for (const { output, rows: drafted } of walks) {
    const sequence = sequences[outputs[output]];
    const before = probes.slice(0, owners.indexOf(sequence)).reduce((sum, probe) => sum + probe.outputs, 0);
    const stay = kept.subarray(output - before, output - before + drafted).reduce((sum, one) => sum + (one & 1), 0);
    count(sequence, stay - drafted);
  }
  // A draft that the run put behind its only sequence's rows: its root is one of these.
  if (seats && seats[0].rows > 1 && ahead?.drafters?.[0]?.begins) {
    count(
      sequences[0],
      kept.reduce((sum, flags) => sum + (flags & 1), -1),
    );
  }
  for (const [sequence, cells] of rows) kv.commit(sequence, cells);
}

export function nativeBatch(
  { tokens, positions, sequences, parents, outputs, compress, part }: RunRequest,
  kv: NativeKvCache,
): NonNullable<NativeRequest['batch']> {
  return {
    ...{ tokens, positions, sequences, outputRows: outputs, kv },
    ...(parents ? { parents } : {}),
    ...(compress ? { compress: Int32Array.from([...compress].flat()) } : {}),
    ...(part ? { part: Int32Array.of(part.layer, part.first, part.rows, part.voters) } : {}),
  };
}
