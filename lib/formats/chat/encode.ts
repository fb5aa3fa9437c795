// A conversation to token ids, in which only the template can write control tokens.
//
// The rendered text is encoded as a whole, so that harmless conversations get exactly the ids of plain encoding (words
// merge across the border of template and content; SentencePiece adds its space where it should). What users wrote must
// not become control tokens, though. So, before rendering, every place in their texts that spells one, or begins one at
// the end of a text, is replaced by a mark that no text contains; afterwards the marks are turned back, and the places
// where they stood are encoded as plain text. The rest of a text is untouched: templates may trim, split or search it. If
// a template cuts a mark apart, the conversation is refused.
import { VivaceError } from '../../errors.js';
import type { Span } from '../tokenizer/special-splitter.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { ChatInput, ChatMessage } from './messages.js';
import { renderChat } from './chat.js';

/** Roles that templates write into control tokens (`<|user|>`) or compare. */
const ROLES = new Set([
  'system',
  'user',
  'assistant',
  'tool',
  'developer',
  'function',
  'model',
  'ipython',
  'observation',
]);

/** Renders and encodes. BOS and EOS are those of the template; a doubled BOS is dropped. */
export function encodeChat(tokenizer: Tokenizer, template: string, input: ChatInput): Int32Array {
  for (const { role } of input.messages) {
    const id = typeof role === 'string' && !ROLES.has(role) ? tokenizer.tokenId(`<|${role}|>`) : undefined;
    if (id !== undefined && tokenizer.isSpecial(id)) {
      throw new VivaceError('INVALID_ARGUMENT', `The role "${role}" is the name of a control token`);
    }
  }
  const named = {
    bosToken: textOf(tokenizer, tokenizer.special.bos),
    eosToken: textOf(tokenizer, tokenizer.special.eos),
    ...input,
  };
  const marks = new Marks(tokenizer, template, named);
  const messages = named.messages.map((message) => ({ ...marks.hide(message), role: message.role }) as ChatMessage);
  const rendered = renderChat(template, {
    ...named,
    messages,
    tools: marks.hide(named.tools),
    documents: marks.hide(named.documents),
    extra: marks.hide(named.extra),
  });
  const { text, plain } = marks.restore(rendered);
  const ids = tokenizer.encode(text, { addSpecial: false, parseSpecial: true, plain });
  const { bos } = tokenizer.special;
  return bos !== undefined && ids[0] === bos && ids[1] === bos ? ids.subarray(1) : ids;
}

function textOf(tokenizer: Tokenizer, id: number | undefined): string {
  return id === undefined ? '' : tokenizer.tokenText(id);
}

class Marks {
  private readonly hidden: string[] = [];
  private readonly border: string;

  constructor(
    private readonly tokenizer: Tokenizer,
    template: string,
    input: ChatInput,
  ) {
    const everything = template + JSON.stringify(input);
    let code = 0xe000; // private use
    while (everything.includes(String.fromCharCode(code))) code++;
    if (code > 0xf8ff) throw new VivaceError('INVALID_ARGUMENT', 'The messages use every private-use character');
    this.border = String.fromCharCode(code);
  }

  /** A copy in which texts, at any depth, have their control tokens replaced. */
  hide<Part>(part: Part): Part {
    return this.replace(part) as Part;
  }

  private replace(part: unknown): unknown {
    if (typeof part === 'string') return this.replaceText(part);
    if (Array.isArray(part)) return part.map((item: unknown) => this.replace(item));
    if (typeof part !== 'object' || part === null) return part;
    return Object.fromEntries(Object.entries(part).map(([key, item]) => [this.replaceText(key), this.replace(item)]));
  }

  private replaceText(text: string): string {
    let out = '';
    let at = 0;
    for (const [start, end] of this.tokenizer.controlSpans(text)) {
      out += `${text.slice(at, start)}${this.border}${this.hidden.length}${this.border}`;
      this.hidden.push(text.slice(start, end));
      at = end;
    }
    return out + text.slice(at);
  }

  restore(rendered: string): { text: string; plain: Span[] } {
    const parts = rendered.split(this.border);
    const plain: Span[] = [];
    let text = '';
    for (const [i, part] of parts.entries()) {
      if (i % 2 === 0) {
        text += part;
        continue;
      }
      const hidden = /^\d+$/.test(part) && i < parts.length - 1 ? this.hidden[Number(part)] : undefined;
      if (hidden === undefined) {
        throw new VivaceError(
          'TEMPLATE_ERROR',
          'The chat template cuts a text inside a control token that a message spells',
          {
            remedy: 'Remove texts such as <|im_end|> from the messages.',
          },
        );
      }
      plain.push([text.length, text.length + hidden.length]);
      text += hidden;
    }
    return { text, plain };
  }
}
