// What a template can take, learnt by rendering short conversations with words that must come out again.
import { renderTemplate } from './render.js';
import type { ChatMessage } from './messages.js';

/** Each answer is found when first asked for. */
export interface Capabilities {
  readonly system: boolean;
  /** Contents must be lists of parts, or may be. */
  readonly typedContent: 'needed' | 'taken' | 'refused';
  readonly tools: boolean;
  readonly toolCalls: boolean;
  /** Arguments of tool calls as the template wants them. */
  readonly toolArguments: 'object' | 'text';
  /** Does a null content come out as nothing. */
  readonly nullContent: boolean;
}

const WORD = 'vivacious needle';
const OTHER = 'second needle';
const CACHED = 32;
const known = new Map<string, Capabilities>();

export function capabilitiesOf(template: string): Capabilities {
  let found = known.get(template);
  if (!found) {
    if (known.size >= CACHED) known.clear();
    found = new Probes(template);
    known.set(template, found);
  }
  return found;
}

class Probes implements Capabilities {
  private readonly answers = new Map<string, unknown>();
  constructor(private readonly template: string) {}

  get system(): boolean {
    return this.once('system', () => this.render([{ role: 'system', content: WORD }, this.user(OTHER)]).includes(WORD));
  }

  get typedContent(): Capabilities['typedContent'] {
    return this.once('typedContent', () => {
      const plain = this.render([{ role: 'user', content: WORD }]).includes(WORD);
      const parts = this.render([{ role: 'user', content: [{ type: 'text', text: WORD }] }]);
      const typed = parts.includes(WORD) && !/['"]text['"]/.test(parts); // else the list itself was printed
      if (typed) return plain ? 'taken' : 'needed';
      return 'refused';
    });
  }

  get tools(): boolean {
    return this.once('tools', () => {
      const parameters = { type: 'object', properties: {} };
      const tool = { type: 'function', function: { name: 'needle_tool', description: WORD, parameters } };
      return this.render([this.user(OTHER)], { tools: [tool] }).includes('needle_tool');
    });
  }

  get toolCalls(): boolean {
    return this.once(
      'toolCalls',
      () => this.call({ city: WORD }).includes('needle_tool') || this.call('{}').includes('needle_tool'),
    );
  }

  get toolArguments(): 'object' | 'text' {
    return this.once('toolArguments', () => {
      return /"city":\s*"vivacious needle"/.test(this.call({ city: WORD })) ? 'object' : 'text';
    });
  }

  get nullContent(): boolean {
    return this.once('nullContent', () => {
      const call = { id: 'call12345', type: 'function', function: { name: 'needle_tool', arguments: {} } };
      const text = this.render([this.user(OTHER), { role: 'assistant', content: null, tool_calls: [call] }]);
      return text !== '' && !/None|null/.test(text);
    });
  }

  private call(args: unknown): string {
    const call = { id: 'call12345', type: 'function', function: { name: 'needle_tool', arguments: args } };
    return this.render([this.user(OTHER), { role: 'assistant', content: '', tool_calls: [call] }]);
  }

  private user(text: string): ChatMessage {
    return { role: 'user', content: this.typedContent === 'needed' ? [{ type: 'text', text }] : text };
  }

  /** Empty where the template fails: it then lacks what was probed. */
  private render(messages: readonly ChatMessage[], more: Readonly<Record<string, unknown>> = {}): string {
    try {
      return renderTemplate(this.template, {
        messages,
        bos_token: '',
        eos_token: '',
        add_generation_prompt: false,
        ...more,
      });
    } catch {
      return '';
    }
  }

  private once<Answer>(name: string, find: () => Answer): Answer {
    if (!this.answers.has(name)) this.answers.set(name, find());
    return this.answers.get(name) as Answer;
  }
}
