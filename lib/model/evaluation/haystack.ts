// A text of a given number of tokens with keys and values in it, in the form of the embedded models' exercises.
import type { Draws } from '../../decode/speculation/judge/draws.js';
import { expected, VivaceError } from '../../errors.js';
import type { Tokenizer } from '../../formats/tokenizer/tokenizer.js';

export interface HaystackOptions {
  readonly tokenizer: Tokenizer;
  readonly draws: Draws;
  readonly pairs: number;
  /** Tokens of the longest prompt with its answer; the text is as long as fits. */
  readonly length: number;
  /** What stands behind the text, with `{key}` for the key. */
  readonly question: string;
  /** What lies between the pairs, repeated where it is too short. Default: words of the list below. */
  readonly text?: string | undefined;
}

export interface NeedleCase {
  readonly prompt: Int32Array;
  readonly answer: Int32Array;
}

/** Words that tokenizers know, and that the embedded models were trained with. */
const WORDS =
  `fox dog cat horse bird mouse sheep bear wolf duck boy girl king queen farmer soldier teacher doctor sister brother apple bread stone
  letter basket lamp chair table window bottle river forest village garden mountain market kitchen castle school bridge quick brown lazy
  small happy old young quiet bright strong found carried watched followed wanted dropped painted cleaned lifted opened walked jumped
  morning evening winter summer water silver golden number people nothing between always before after`.split(/\s+/);

/** `river stone; k17=v93; old lamp; k05=v12; ` and so on, with a question behind it. */
export class Haystack {
  private readonly table: readonly { readonly key: string; readonly value: string }[];
  private readonly body: string;

  /** Throws INVALID_ARGUMENT for a length that has no room for the pairs, or a text without words. */
  constructor(private readonly options: HaystackOptions) {
    const { draws, pairs, length } = options;
    const numbers = Array.from({ length: 100 }, (_, number) => number);
    const digits = (number: number): string => String(number).padStart(2, '0');
    this.table = Array.from({ length: pairs }, () => {
      const [number] = numbers.splice(draws.below(numbers.length), 1);
      return { key: `k${digits(number)}`, value: `v${digits(draws.below(100))}` };
    });
    const word = this.filler();
    const words: string[] = [];
    const text = (count: number): string => {
      while (words.length < count) words.push(word(words.length));
      return this.spread(words.slice(0, count));
    };
    const question = Math.max(...this.table.map(({ key, value }) => this.count(`; ${this.question(key)}${value}`)));
    const fits = (count: number): boolean => this.count(text(count)) + question <= length;
    let [low, high] = [0, length];
    if (!fits(0)) throw this.tooShort();
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (fits(middle)) low = middle;
      else high = middle - 1;
    }
    this.body = text(low);
  }

  /** The text with the question for pair `index` (in the order of the text), and the tokens that answer it. */
  ask(index: number): NeedleCase {
    const { tokenizer } = this.options;
    const { key, value } = this.table[index];
    const text = this.body + this.question(key);
    const prompt = tokenizer.encode(text);
    // A tokenizer that would join the question's end and the value has to say the value alone.
    const whole = tokenizer.encode(text + value);
    const joined = prompt.some((token, at) => whole[at] !== token);
    return { prompt, answer: joined ? tokenizer.encode(value, { addSpecial: false }) : whole.slice(prompt.length) };
  }

  private question(key: string): string {
    return this.options.question.replaceAll('{key}', key);
  }

  private count(text: string): number {
    return this.options.tokenizer.encode(text).length;
  }

  /** Words before each pair but the first, the same number before each. */
  private spread(words: readonly string[]): string {
    const last = this.table.length - 1;
    const parts = this.table.flatMap(({ key, value }, index) => {
      const [begin, end] = [index - 1, index].map((at) => Math.floor((words.length * Math.max(0, at)) / last));
      const before = words.slice(begin, end).join(' ');
      return before === '' ? [`${key}=${value}`] : [before, `${key}=${value}`];
    });
    return `${parts.join('; ')}; `;
  }

  private filler(): (index: number) => string {
    const { text, draws } = this.options;
    if (text === undefined) return () => WORDS[draws.below(WORDS.length)];
    const words = typeof text === 'string' ? text.split(/\s+/).filter((word) => word !== '') : [];
    if (words.length === 0) throw expected('a text of at least one word', 'text', text);
    const begin = draws.below(words.length);
    return (index) => words[(begin + index) % words.length];
  }

  private tooShort(): VivaceError {
    const { pairs, length } = this.options;
    return new VivaceError('INVALID_ARGUMENT', `A text of ${length} tokens has no room for ${pairs} pairs`, {
      remedy: 'Take longer texts or fewer pairs.',
    });
  }
}
