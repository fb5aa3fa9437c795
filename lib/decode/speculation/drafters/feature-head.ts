// Drafts by a head that reads what the target knew of its rows (features) beside the tokens, and goes on with what it foretells.
import { nativeCall, type NativeDrafter } from '../../../native.js';
import type { Proposal } from '../../../program/executor.js';
import type { JobTaps } from '../../rounds.js';
import { TokenList } from '../../token-list.js';
import type { Draft, DraftContext, Drafter, GenerationDrafter } from '../drafter.js';
import { nativeTrees, shapeOf, type DraftSeat, type ModelDrafting, type NativeTrees } from './draft-model.js';
import { chainOf, draftByItself, draftingLike, DraftSequence, drawnBy, noDraft } from './draft-sequence.js';

export interface HeadSeat extends Omit<DraftSeat, 'tokenizer'> {
  /** Names of the target's values of a row that are its feature, side by side. */
  readonly taps: readonly string[];
}
type HeadOptions = Pick<ModelDrafting, 'minProbability' | 'temperature' | 'shape'>;

/** Rows of the text that may be read in a round that drafts; more are read before. */
const MOST_PENDING = 32;

export const headDrafter = (name: string, seat: () => HeadSeat, options: HeadOptions): Drafter => ({
  name,
  start: (context) => new FeatureDrafter(seat(), options, context),
});

/**
 * Row i of the head's own sequence is the target's i-th row that it heard of: its feature, and the token that came after it.
 * What the target said of a verified draft replaces what the head foretold: those cells are never committed, and one run
 * reads the new features and begins the next draft. A draft is one native call, a chain or a tree.
 *
 * Rows that the target had in its cache before the generation are unknown here; the head then sees a shorter text.
 */
class FeatureDrafter implements GenerationDrafter {
  readonly taps: JobTaps;
  private readonly text = new TokenList(new Int32Array());
  private readonly own: DraftSequence;
  private readonly proposal: Proposal | undefined;
  private readonly features: Float32Array[] = []; // of rows that the head has not read
  private readonly sizes: { readonly maxDraft: number; readonly maxNodes: number };
  private itself: NativeDrafter | undefined;
  private known: NativeTrees | undefined;
  private heard = 0; // rows of the target, those before included
  private drafted: Int32Array = new Int32Array(); // what the sampler took for text
  private skipped = 0; // rows of the text that are not read, where most are not
  listens = false;

  constructor(
    private readonly seat: HeadSeat,
    private readonly options: HeadOptions,
    { sampler, createProposal, signal, maxDraft = 0, maxNodes = 0 }: DraftContext,
  ) {
    this.sizes = { maxDraft, maxNodes };
    this.taps = { names: seat.taps, hear: (values, rows) => this.hear(values, rows) };
    const own = draftingLike(sampler, options.temperature, seat.vocab);
    this.own = new DraftSequence(seat, own, signal);
    if (own.temperature > 0) this.proposal = createProposal(false);
  }

  get draws(): boolean {
    return this.proposal !== undefined;
  }

  private get trees(): NativeTrees {
    return (this.known ??= nativeTrees(this.options.shape, this.sizes, this.draws));
  }

  /** Then its part of a round needs no JavaScript, where the executor can do without. */
  get native(): NativeDrafter | undefined {
    const { kv, sequence, executor, contextLength: context } = this.seat;
    const { minProbability: least } = this.options;
    const own = { kv, sequence, sampler: this.own.sampler, least, context };
    const record = this.proposal ? { proposal: this.proposal } : {};
    this.itself ??= executor.createDrafter?.({ ...own, ...record, ...this.trees });
    return this.itself;
  }

  get runs(): boolean {
    const { kv, sequence } = this.seat;
    kv.length(sequence); // throws where the model is gone
    return this.itself !== undefined;
  }

  /** Of the prompt it reads the end, and never the rest: what the target knew of its rows is gone then. */
  saves(): void {
    this.listens = true;
  }

  accept(tokens: Int32Array): void {
    const { itself } = this;
    if (this.listens && this.skipped === 0) this.skipped = Math.max(1, tokens.length - MOST_PENDING);
    else this.listens = false;
    if (itself) return nativeCall(() => itself.accept(tokens));
    if (this.drafted.length > 0) this.own.sampler.retract(this.drafted);
    this.drafted = new Int32Array();
    this.own.sampler.accept(tokens);
    this.text.append(tokens);
  }

  async draft(maxTokens: number, maxNodes: number, cycle: number): Promise<Draft> {
    const { seat, text, proposal } = this;
    if (this.itself) return draftByItself(this.itself, seat, [maxTokens, maxNodes, cycle], proposal);
    const steps = Math.min(maxTokens, seat.contextLength - text.length);
    const pending = this.heard - seat.kv.length(seat.sequence);
    // Before a token was said, the target has read as much of the prompt as the clock let it.
    if (steps < 1 || cycle === 1 || pending < 1 || this.own.gone) return noDraft;
    // It has read all but the last token, so the last rows are the last ones that were heard of.
    const tokens = text.slice(text.length - pending);
    const features = joined(this.features.splice(0));
    const width = features.length / pending;
    const first = Math.max(0, pending - MOST_PENDING);
    if (first > 0) {
      const inputs = { features: features.subarray(0, first * width) };
      if (!(await this.own.read(tokens.subarray(0, first), inputs))) return noDraft;
    }
    const { minProbability: least, shape } = this.options;
    const record = { cycle, ...(proposal ? { proposal } : {}) };
    const isTree = maxNodes > maxTokens;
    const done = await this.own.run({
      tokens: tokens.subarray(first),
      inputs: { features: features.subarray(first * width) },
      sampler: this.own.sampler,
      ...(isTree
        ? { tree: { shape: shapeOf(this.trees, steps, maxNodes) ?? shape(steps, maxNodes, this.draws), ...record } }
        : { drafting: { steps, least, ...record } }),
    });
    const draft = isTree ? (done?.tree ?? noDraft) : chainOf(drawnBy(done));
    if (!isTree) this.drafted = draft.tokens;
    const { tokens: drawn, parents, scores } = draft;
    return { tokens: drawn, parents, scores, ...(proposal ? { proposal } : {}) };
  }

  dispose(): void {
    this.itself?.dispose();
    this.own.dispose();
  }

  private hear(values: readonly Float32Array[], rows: number): void {
    const { itself } = this;
    if (itself) {
      const all = sideBySide(values, rows);
      const left = Math.max(0, Math.min(rows, this.skipped - this.heard));
      this.heard += rows;
      return nativeCall(() => itself.hear(all.subarray((all.length / rows) * left)));
    }
    this.features.push(sideBySide(values, rows));
    this.heard += rows;
  }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0];
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let place = 0;
  for (const part of parts) {
    all.set(part, place);
    place += part.length;
  }
  return all;
}

/** The columns of some matrices of so many rows. */
function sideBySide(parts: readonly Float32Array[], rows: number): Float32Array {
  if (parts.length === 1) return parts[0];
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  const columns = all.length / rows;
  let column = 0;
  for (const part of parts) {
    const width = part.length / rows;
    for (let row = 0; row < rows; row++) all.set(part.subarray(row * width, (row + 1) * width), row * columns + column);
    column += width;
  }
  return all;
}
