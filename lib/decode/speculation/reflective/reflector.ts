// The second readings of one generation: which drafts get one, and how they went.
import type { Tokenizer } from '../../../formats/tokenizer/tokenizer.js';
import type { JobDraft } from '../../rounds.js';
import type { Draft } from '../drafter.js';
import { Gate } from './gate.js';
import { promptTokens, type ResolvedReflection } from './options.js';
import { rowsOfReading, secondReading, type ReadingOptions } from './reading.js';
import { Whereabouts } from '../where.js';

export interface ReflectionResult {
  /** Drafts that were read twice. */
  readonly rounds: number;
  /** Rows of theirs whose most probable token was another one for that. */
  readonly topChanged: number;
  /** Tokens of a round, and its time, the drafter's included: averages of late, of drafts read twice and of those read once. */
  readonly tokensTwice: number;
  readonly tokensOnce: number;
  readonly msTwice: number;
  readonly msOnce: number;
}

export class Reflector {
  private readonly reading: ReadingOptions;
  private readonly gate: Gate;
  private readonly where: Whereabouts;
  private text: number[] = []; // its end
  private rounds = 0;
  private topChanged = 0;

  /** Throws INVALID_ARGUMENT for a prompt that cannot be in the middle of an answer. */
  constructor(
    private readonly options: ResolvedReflection,
    tokenizer: Tokenizer,
  ) {
    this.where = new Whereabouts(options.reflectIn, tokenizer);
    this.reading = { ...options, prompt: promptTokens(options.prompt, tokenizer) };
    this.gate = new Gate(options.probeEvery);
  }

  accept(tokens: Int32Array): void {
    this.where.accept(tokens);
    this.text = [...this.text, ...tokens.slice(-this.options.anchorTokens)].slice(-this.options.anchorTokens);
  }

  /** `room`: rows that fit behind the text. */
  read(draft: Draft, room: number): Pick<JobDraft, 'again'> {
    const { entropyGate, autoSkip, reflectPaths } = this.options;
    if (reflectPaths === 0 || !this.where.inside || (autoSkip && !this.gate.reads)) return {};
    if (entropyGate !== undefined && !(meanProbability(draft) < entropyGate)) return {};
    // A reading that does not fit is left out whole.
    const paths = Math.min(reflectPaths, draft.tokens.length);
    if (draft.tokens.length + paths * rowsOfReading(this.reading, draft.tokens.length) > room) return {};
    const again = secondReading(draft, this.reading, this.text);
    return again ? { again } : {};
  }

  learn(readTwice: boolean, tokens: number, ms: number, changed = 0): void {
    this.gate.learn(readTwice, tokens, ms);
    if (!readTwice) return;
    this.rounds++;
    this.topChanged += changed;
  }

  result(): ReflectionResult {
    const { twice, once } = this.gate;
    return {
      rounds: this.rounds,
      topChanged: this.topChanged,
      tokensTwice: twice.tokens,
      tokensOnce: once.tokens,
      msTwice: twice.ms,
      msOnce: once.ms,
    };
  }
}

/** What the drafter gives its tokens, each after its parent. */
function meanProbability({ parents, scores }: Draft): number {
  const own = scores.map((score, node) => (parents[node] < 0 ? score : score / (scores[parents[node]] || 1)));
  return own.reduce((sum, value) => sum + value, 0) / Math.max(1, own.length);
}
