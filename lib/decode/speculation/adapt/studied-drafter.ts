// A drafter whose drafts are watched and whose text becomes lessons: what it says is still its own.
import type { Tokenizer } from '../../../formats/tokenizer/tokenizer.js';
import type { KvCache } from '../../../program/executor.js';
import type { Rounds } from '../../rounds.js';
import type { TokenList } from '../../token-list.js';
import type { Draft, GenerationDrafter } from '../drafter.js';
import type { DraftSeat } from '../drafters/draft-model.js';
import { lessonsOf, type Lesson, type TokenMap, type TopTokens } from './lessons.js';
import type { ResolvedAdaptation } from './options.js';
import type { DraftEnds, StopHead } from './stop-head.js';
import type { Study } from './trainer.js';

/**
 * Hears of each token of the target, in order, after the prompt: what a drafter's text gets for it (nothing, where that is
 * part of what an earlier one got), and how much of that comes between it and the text, which does not have it yet.
 */
export type Spoken = (target: number, own: ArrayLike<number>, text: TokenList, ahead: number) => void;

/** What learns, as one generation sees it. */
export interface Learner {
  readonly map: TokenMap;
  readonly options: ResolvedAdaptation;
  /** Learns where drafts end, where that was asked for. */
  readonly head?: StopHead | undefined;
  /** A draft begins, now or later; says whether it is made with what was learned. */
  enter(): boolean | Promise<boolean>;
  /** It is over. */
  leave(): void;
  /** So much of a draft was kept. */
  heard(share: number, withLearned: boolean): void;
  /** Reads with the drafter as it was before it learned. */
  readonly rounds: Rounds;
  submit(study: Study): void;
}

/** What a drafter may be given to learn with (lib/model/online-adaptation.ts). */
export interface Adaptation {
  /** A sequence whose drafts are made with what was learned. */
  seat(): DraftSeat;
  /** Throws INVALID_ARGUMENT when it learns from another target. */
  learner(target: Tokenizer, map: TokenMap): Learner;
}

/** Lessons that are read together. */
const TOGETHER = 32;

export class StudiedDrafter implements GenerationDrafter {
  readonly learns: number;
  private readonly inner: GenerationDrafter;
  private readonly ends: DraftEnds | undefined;
  private told: readonly TopTokens[] = [];
  private place = 0; // in `told`
  private text: TokenList | undefined;
  private lessons: Lesson[] = [];
  private said: number[] = []; // since the last draft, in the drafter's tokens
  private drafted: Int32Array = new Int32Array();
  private withLearned = false;

  /** `make`: the drafter, which tells `spoken` of its text and `ends` of its tokens; `seat`: its sequence. */
  constructor(
    make: (spoken: Spoken, ends: DraftEnds | undefined) => GenerationDrafter,
    private readonly seat: { readonly kv: KvCache; readonly sequence: number },
    private readonly learner: Learner,
  ) {
    this.learns = learner.options.laws;
    this.ends = learner.head?.watch();
    this.inner = make((target, own, text, ahead) => this.hear(target, own, text, ahead), this.ends);
  }

  accept(tokens: Int32Array, laws: readonly TopTokens[] = []): void {
    const { drafted, inner } = this;
    if (drafted.length > 0) {
      let kept = 0;
      while (kept < Math.min(drafted.length, tokens.length) && drafted[kept] === tokens[kept]) kept++;
      this.learner.heard(kept / drafted.length, this.withLearned);
      this.drafted = new Int32Array();
    }
    this.told = laws;
    this.place = 0;
    this.said = [];
    inner.accept(tokens);
    this.ends?.judged(this.said);
    if (this.lessons.length >= TOGETHER) this.study();
  }

  async draft(maxTokens: number, maxNodes: number, cycle: number): Promise<Draft> {
    const entered = this.learner.enter();
    this.withLearned = typeof entered === 'boolean' ? entered : await entered;
    try {
      const draft = await this.inner.draft(maxTokens, maxNodes, cycle);
      const isChain = draft.parents.every((parent, i) => parent === i - 1);
      this.drafted = isChain ? draft.tokens : new Int32Array();
      return draft;
    } finally {
      this.learner.leave();
    }
  }

  finish(output: Int32Array): void {
    this.study();
    this.inner.finish?.(output);
  }

  dispose(): void {
    this.inner.dispose();
  }

  private hear(target: number, own: ArrayLike<number>, text: TokenList, ahead: number): void {
    this.text = text;
    for (let i = 0; i < own.length; i++) this.said.push(own[i]);
    const top = this.told[this.place++];
    if (top === undefined || top.length === 0 || own.length === 0) return;
    this.lessons.push(...lessonsOf(target, top, own, text.length + ahead, this.learner.map, this.learner.options));
  }

  /** Hands over what is known by now; the last lesson's row may be the text's last one. */
  private study(): void {
    const { text, lessons, learner } = this;
    const { kv, sequence } = this.seat;
    this.lessons = [];
    if (!text || lessons.length === 0) return;
    const fork = kv.fork(sequence);
    const begin = Math.min(kv.length(fork), lessons[0].row);
    kv.truncate(fork, begin);
    const tokens = text.slice(begin, lessons[lessons.length - 1].row + 1);
    learner.submit({ rounds: learner.rounds, kv, sequence: fork, tokens, lessons, begin });
  }
}
