// The drafter of any model for any other: what it may be asked, and what its generations share.
import { VivaceError } from '../../../../errors.js';
import type { Tokenizer } from '../../../../formats/tokenizer/tokenizer.js';
import type { DraftEnds } from '../../adapt/stop-head.js';
import { StudiedDrafter, type Adaptation, type Spoken } from '../../adapt/studied-drafter.js';
import type { DraftContext, Drafter, GenerationDrafter } from '../../drafter.js';
import type { DraftSeat } from '../draft-model.js';
import { Alignment, type TokenPairs } from './alignment.js';
import { loadCache, saveCache } from './cache-file.js';
import { ExactDrafter } from './exact-drafter.js';
import { MergingDrafter } from './merging-drafter.js';
import type { NGramCacheOptions } from './n-gram-cache.js';
import { Translation } from './translation.js';

export const exactnessWords = ['greedy', 'match', 'direct', 'ngram-exact', 'paper'] as const;

/**
 * How tokens are drafted, and with it how the lossless verifier judges them. All but `paper` leave the text or its law as it
 * is. `match`: the most probable ones, kept where the target says the same; `greedy`: the same, for temperature 0 only.
 * `direct`: drawn from the tokens that have a counterpart, judged by the ratio of the laws. `ngram-exact`: drawn, with runs of
 * two put together, judged by the ratio to the true law of what comes out. `paper`: OmniDraft's law, which changes the text's.
 */
export type Exactness = (typeof exactnessWords)[number];

export interface ResolvedCrossVocabulary extends NGramCacheOptions {
  readonly exactness: Exactness | undefined;
  /** Undefined: what has given the most tokens for their cost (docs/systems/omnidraft.md). */
  readonly minProbability: number | undefined;
  readonly pairs: TokenPairs;
  readonly cachePath: string | undefined;
  readonly warm: boolean;
  readonly recut: boolean;
  readonly resegmentTail: number;
  /** Learns from the target. */
  readonly adapt?: Adaptation;
}

/** What is known of a pair of vocabularies. */
export interface CrossVocabularyReport {
  /** Tokens of the drafter, and how many of them have one of the target's. */
  readonly drafterTokens: number;
  readonly mapped: number;
  /** Runs that are known, how many made room for others, and the share of drafted tokens that came from one. */
  readonly runs: number;
  readonly evicted: number;
  readonly runShare: number;
}

export class CrossVocabularyDrafter implements Drafter {
  readonly name = 'cross-vocabulary';
  private readonly known = new Map<Tokenizer, Translation>();

  /** @internal Made by `crossVocabulary`. */
  constructor(
    private readonly seat: () => DraftSeat,
    private readonly options: ResolvedCrossVocabulary,
  ) {}

  start(context: DraftContext): GenerationDrafter {
    const own = this.seat();
    try {
      const translation = this.translation(context, own);
      const { adapt } = this.options;
      const make = (spoken?: Spoken, ends?: DraftEnds): GenerationDrafter =>
        this.drafter(own, translation, context, spoken, ends);
      const learner = adapt?.learner(context.tokenizer, translation.alignment);
      const drafter = learner ? new StudiedDrafter(make, own, learner) : make();
      const { cachePath } = this.options;
      if (cachePath === undefined) return drafter;
      const before = translation.cache.changes;
      const finish = drafter.finish?.bind(drafter);
      return Object.assign(drafter, {
        finish: (output: Int32Array) => {
          finish?.(output);
          if (translation.cache.changes !== before) saveCache(cachePath, translation.cache, translation.alignment);
        },
      });
    } catch (error) {
      own.rounds.release(own.kv, own.sequence);
      throw error;
    }
  }

  /** What is known of this pair of vocabularies, once a generation with a target of this tokenizer has begun. */
  report(target: Tokenizer): CrossVocabularyReport | undefined {
    const translation = this.known.get(target);
    if (!translation) return undefined;
    const { alignment, cache } = translation;
    return {
      drafterTokens: alignment.direct.length,
      mapped: alignment.mapped,
      runs: cache.size,
      evicted: cache.evicted,
      runShare: cache.lookups > 0 ? cache.found / cache.lookups : 0,
    };
  }

  /** Forgets what was learned from texts, in memory; a file is written anew by the next answer that learns. */
  clear(): void {
    for (const { cache } of this.known.values()) cache.clear();
  }

  private translation({ tokenizer, sampler }: DraftContext, { tokenizer: own, vocab }: DraftSeat): Translation {
    const old = this.known.get(tokenizer);
    if (old) return old;
    const { pairs, cachePath, warm, maxN, maxEntries, evict } = this.options;
    for (const [drafter, target] of Object.entries(pairs)) {
      if (Number(drafter) < vocab && target < sampler.vocab) continue;
      throw new VivaceError(
        'INVALID_ARGUMENT',
        `\`pairs\` has tokens that the models do not have: ${drafter}, ${target}`,
      );
    }
    const made = new Translation(new Alignment(tokenizer, own, sampler.vocab, vocab, pairs), {
      maxN,
      maxEntries,
      evict,
    });
    const restored = cachePath !== undefined && loadCache(cachePath, made.cache, made.alignment);
    if (warm && !restored) made.learnAll();
    this.known.set(tokenizer, made);
    return made;
  }

  private drafter(
    seat: DraftSeat,
    translation: Translation,
    context: DraftContext,
    spoken?: Spoken,
    ends?: DraftEnds,
  ): GenerationDrafter {
    const { exactness = 'match', recut, resegmentTail } = this.options;
    const greedy = context.sampler.temperature === 0;
    const minProbability = this.options.minProbability ?? (exactness === 'match' && !greedy ? 0.4 : 0.2);
    if (exactness === 'greedy' && !greedy) {
      throw new VivaceError('INVALID_ARGUMENT', 'The exactness `greedy` is for temperature 0', {
        remedy: "Use 'match', which is the same for other temperatures.",
      });
    }
    if (exactness === 'direct' && translation.alignment.mapped === 0) {
      throw new VivaceError('INVALID_ARGUMENT', 'No token of the drafter has a counterpart in the target', {
        remedy: "Use another drafter, or the exactness 'match'.",
      });
    }
    if (exactness === 'ngram-exact' && !greedy)
      return new ExactDrafter(seat, translation, { minProbability, resegmentTail }, context, spoken, ends);
    // At temperature 0 laws are one token, and drawing is choosing.
    const how =
      exactness === 'direct' ? 'direct' : exactness === 'paper' && !greedy ? 'paper' : recut ? 'recut' : 'chosen';
    return new MergingDrafter(seat, translation, { how, minProbability, resegmentTail }, context, spoken, ends);
  }
}
