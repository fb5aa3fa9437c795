// A drafter that, where its drafts have not been kept lately, reads only the end of a long prompt until one is.
import type { NativeDrafter } from '../../../native.js';
import { TokenList } from '../../token-list.js';
import type { Draft, GenerationDrafter } from '../drafter.js';

/** Of a prompt, what a trial reads: as many as a run reads beside its first draft. */
const READ = 16;
/** Rounds after which it is looked whether something was kept; then twice as many, and so on: each look ends a run. */
const FIRST_ROUNDS = 4;

export class TrialDrafter implements GenerationDrafter {
  private readonly text = new TokenList();
  private isPoor = false;
  private onTrial = false;
  private rounds = FIRST_ROUNDS; // until the next look
  private left = FIRST_ROUNDS; // of them
  private kept = 0;
  private due = false;

  /** `start` begins the drafter anew, for a text that it has not heard; `isLong`: a prompt is not read without a trial. */
  constructor(
    private inner: GenerationDrafter,
    private readonly start: () => GenerationDrafter,
    private readonly isLong: (prompt: TokenList) => boolean,
  ) {}

  get native(): NativeDrafter | undefined {
    return this.inner.native;
  }

  get draws(): boolean | undefined {
    return this.inner.draws;
  }

  get anyShape(): boolean | undefined {
    return this.inner.anyShape;
  }

  get runs(): boolean | undefined {
    return this.inner.runs;
  }

  get horizon(): number {
    return this.onTrial ? this.left : Infinity;
  }

  saves(): void {
    this.isPoor = true;
  }

  accept(tokens: Int32Array): void {
    if (this.text.length > 0) return this.inner.accept(tokens);
    this.text.append(tokens);
    this.onTrial = this.isPoor && this.isLong(this.text);
    this.inner.accept(this.onTrial ? tokens.subarray(-READ) : tokens);
  }

  hearRound(tokens: Int32Array, kept: number): void {
    if (!this.onTrial) return;
    this.text.append(tokens);
    this.kept += kept;
    if (--this.left > 0) return;
    this.due = this.kept > 0;
    this.left = this.rounds *= 2;
  }

  /** Runs that draft end after `horizon` rounds, so that nobody else has the drafter now. */
  ready(): Promise<void> | undefined {
    if (this.due) {
      this.due = this.onTrial = false;
      this.inner.dispose();
      this.inner = this.start();
      void this.inner.native; // before it hears of the text
      this.inner.accept(this.text.slice());
    }
    return this.inner.ready?.();
  }

  draft(maxTokens: number, maxNodes: number, cycle: number): Draft | Promise<Draft> {
    return this.inner.draft(maxTokens, maxNodes, cycle);
  }

  dispose(): void {
    this.inner.dispose();
  }
}
