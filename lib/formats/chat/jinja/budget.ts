// Bounds on what a template may cost: steps, depth and the length of texts.
import { TemplateFault } from './fault.js';
import type { Value } from './values.js';

const DEEPEST = 100; // macro calls and recursive loops inside each other
const LONGEST = 2 ** 24; // characters of one text, and of the output
const MOST_ITEMS = 2 ** 20;
/** Python's sandbox has the same bound on range(). */
export const LONGEST_RANGE = 100_000;

export class Budget {
  private depth = 0;
  private written = 0;

  constructor(private steps: number) {}

  spend(steps: number): void {
    this.steps -= steps;
    if (this.steps < 0) throw new TemplateFault('the template does too much work');
  }

  nested<Result>(work: () => Result): Result {
    if (++this.depth > DEEPEST) throw new TemplateFault('the template calls itself too deeply');
    try {
      return work();
    } finally {
      this.depth--;
    }
  }

  /** A text that goes to the output. */
  text(text: string): string {
    this.written += text.length;
    if (this.written > LONGEST) throw new TemplateFault('the template writes too much');
    return text;
  }

  /** A value that an operation has made: long ones cost more, the longest are refused. */
  value(value: Value): Value {
    if (typeof value === 'string') {
      this.length(value.length);
      this.spend(value.length >>> 10);
    } else if (Array.isArray(value)) {
      this.items(value.length);
      this.spend(value.length >>> 4);
    }
    return value;
  }

  /** Before a text of this length is made. */
  length(characters: number): void {
    if (characters > LONGEST) throw new TemplateFault('the template makes too long a text');
  }

  items(count: number): void {
    if (count > MOST_ITEMS) throw new TemplateFault('the template makes too long a list');
  }
}
