// Where in an answer a lossy verifier is in use: everywhere, in the model's thinking, outside of it, or where a caller says.
import { expected } from '../../errors.js';
import type { Tokenizer } from '../../formats/tokenizer/tokenizer.js';
import { completing } from '../completing.js';

/**
 * `thinking`: behind `<think>` and before `</think>`, which may stand in the prompt, too; `text`: elsewhere. A function gets the
 * text of the answer so far, before each draft.
 */
export type Where = Place | ((answer: string) => boolean);
export const places = ['all', 'text', 'thinking'] as const;
export type Place = (typeof places)[number];

/** Throws INVALID_ARGUMENT. */
export function checkWhere(name: string, where: unknown): Where {
  if (where === undefined) return 'all';
  if (places.includes(where as Place) || typeof where === 'function') return where as Where;
  throw expected("'all', 'text', 'thinking' or a function of the answer's text", name, where);
}

const OPENS = '<think>';
const CLOSES = '</think>';

/** Follows the text of one generation. */
export class Whereabouts {
  private tokens: number[] = []; // of the answer, or of the text's end
  private begun = false;
  private thinks = false;

  constructor(
    private readonly where: Where,
    private readonly tokenizer: Tokenizer,
  ) {}

  /** The prompt first, in one call, then what was said. */
  accept(tokens: Int32Array): void {
    if (this.where === 'all') return;
    if (typeof this.where === 'function') {
      if (this.begun) this.tokens.push(...tokens);
    } else {
      const text = this.tokenizer.decode([...this.tokens, ...tokens], { skipSpecial: false });
      const [opens, closes] = [text.lastIndexOf(OPENS), text.lastIndexOf(CLOSES)];
      if (opens >= 0 || closes >= 0) this.thinks = opens > closes;
      this.tokens = [...this.tokens, ...tokens].slice(-CLOSES.length); // a mark may be in as many tokens as it has letters
    }
    this.begun = true;
  }

  /** Tokens after which the answer may be elsewhere than before; undefined: any. */
  get turns(): readonly number[] | undefined {
    if (typeof this.where === 'function') return undefined;
    return this.where === 'all' ? [] : [OPENS, CLOSES].flatMap((mark) => completing(this.tokenizer, mark));
  }

  /** Whether the verifier is in use for what comes next. */
  get inside(): boolean {
    const { where } = this;
    if (where === 'all') return true;
    if (typeof where === 'function') return where(this.tokenizer.decode(this.tokens));
    return this.thinks === (where === 'thinking');
  }
}
