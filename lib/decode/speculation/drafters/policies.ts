// Drafters without a model, for `speculation.drafter`.
import { expected, VivaceError } from '../../../errors.js';
import type { NativeDrafter } from '../../../native.js';
import type { DraftContext, Drafter, GenerationDrafter, TokenDrafter } from '../drafter.js';
import { Datastore, DatastoreDrafter, type DatastoreDrafterOptions } from './datastore.js';
import { tokenizerFingerprint } from './datastore-build.js';
import { InputCopyDrafter, type InputCopyOptions } from './input-copy.js';
import { LookaheadDrafter, lookaheadOptions, type LookaheadOptions } from './lookahead.js';
import { NGramDrafter, type NGramOptions } from './n-gram.js';
import { SuffixDrafter, type SuffixOptions } from './suffix.js';

/** Drafts what followed the text's last tokens earlier in it: for answers that repeat their prompt. */
export const nGram = (options: NGramOptions = {}): Drafter => policy('ngram', () => new NGramDrafter(options));

/** Drafts by counts of everything in the text, and in finished answers if there is a `cache`. */
export const suffix = (options: SuffixOptions = {}): Drafter => policy('suffix', () => new SuffixDrafter(options));

/** Drafts a copy of an input, the prompt by default: for corrections and edits. The longer it holds, the longer drafts may be. */
export const inputCopy = (options: InputCopyOptions = {}): Drafter => ({
  ...policy('input-copy', () => new InputCopyDrafter(options)),
  maxDraft: 64,
});

/**
 * Drafts n-grams that the target itself has guessed in rows beside its rounds: without another model, in any text; for models
 * that memory bounds so much that some thirty rows cost little more than one. Allow a tree (`maxNodes`) for several candidates.
 */
export function lookahead(options: LookaheadOptions = {}): Drafter {
  const checked = lookaheadOptions(options);
  return { name: 'lookahead', start: () => new LookaheadDrafter(checked) };
}

export type DatastoreOptions = Omit<DatastoreDrafterOptions, 'datastore'>;

/**
 * Drafts what followed the text's last tokens in a corpus: for answers whose words are known beforehand, as in a domain. A
 * file of `vivace datastore build` is opened by its path, and checked, by the first generation; it stays mapped until nothing
 * refers to the drafter any more. A generation fails with what `Datastore.open` says of the file, and with INVALID_ARGUMENT
 * when it was made with another tokenizer.
 */
export function datastore(source: string | Datastore, options: DatastoreOptions = {}): Drafter {
  if (typeof source !== 'string' && !(source instanceof Datastore)) {
    throw expected('a path or a Datastore', 'source', source);
  }
  const make = (opened: Datastore, { tokenizer, sampler }: DraftContext): DatastoreDrafter => {
    const { fingerprint, vocab } = opened.info;
    if (fingerprint !== tokenizerFingerprint(tokenizer) || vocab > sampler.vocab) {
      throw new VivaceError('INVALID_ARGUMENT', "The datastore was made with another tokenizer than this model's", {
        remedy: 'Build a datastore with this model.',
      });
    }
    return new DatastoreDrafter({ ...options, datastore: opened });
  };
  if (typeof source !== 'string') return { name: 'datastore', start: (context) => make(source, context) };
  let opening: Promise<Datastore> | undefined;
  // Generations that begin together share one opening; after a failure the next one tries again.
  const open = (): Promise<Datastore> =>
    (opening ??= Datastore.open(source).catch((error: unknown) => {
      opening = undefined;
      throw error;
    }));
  return { name: 'datastore', start: (context) => new Opening(open, (opened) => make(opened, context)) };
}

/** Any drafter of tokens; `make` is called once per generation. */
export const policy = (name: string, make: () => TokenDrafter): Drafter => ({ name, start: make });

/** A drafter that is made when its file is open; it then hears what was said before. */
class Opening implements GenerationDrafter {
  private drafter: TokenDrafter | undefined;
  private readonly said: Int32Array[] = [];
  private disposed = false;

  constructor(
    private readonly open: () => Promise<Datastore>,
    private readonly make: (opened: Datastore) => TokenDrafter,
  ) {}

  /** Once the file is open. */
  get native(): NativeDrafter | undefined {
    return this.drafter?.native;
  }

  accept(tokens: Int32Array): void {
    if (this.drafter) this.drafter.accept(tokens);
    else this.said.push(tokens.slice());
  }

  draft(maxTokens: number, maxNodes: number): ReturnType<GenerationDrafter['draft']> {
    if (this.drafter) return this.drafter.draft(maxTokens, maxNodes);
    return this.open().then((opened) => {
      // The generation may have ended meanwhile.
      if (this.disposed) throw new VivaceError('DISPOSED', 'The generation of this drafter is over');
      this.drafter = this.make(opened);
      for (const tokens of this.said.splice(0)) this.drafter.accept(tokens);
      return this.drafter.draft(maxTokens, maxNodes);
    });
  }

  dispose(): void {
    this.disposed = true;
    this.drafter?.dispose();
  }
}
