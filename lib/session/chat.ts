// A conversation in a model's own format: each turn is rendered whole, and what the cache has of it is not computed again.
import type { Piece } from '../decode/answer.js';
import type { GenerateResult } from '../decode/loop.js';
import type { GenerateOptions } from '../decode/options.js';
import { expected, VivaceError } from '../errors.js';
import { chooseTemplate, encodeChat, type ChatMessage } from '../formats/chat/chat-template.js';
import type { Tokenizer } from '../formats/tokenizer/tokenizer.js';
import type { Session } from './session.js';

export type { ChatMessage } from '../formats/chat/chat-template.js';

export interface ChatOptions {
  /** What the model is told before the first turn. */
  readonly system?: string;
  /** A Jinja template instead of the model's own. */
  readonly template?: string;
  /** Turns that have already been. */
  readonly messages?: readonly ChatMessage[];
}

export class Chat {
  private readonly template: string;
  private readonly history: ChatMessage[];

  /** @internal Made by `Model.createChat`. The session becomes the chat's. */
  constructor(
    /** The sequence behind the chat. */
    readonly session: Session,
    private readonly tokenizer: Tokenizer,
    templates: Readonly<Record<string, string>>,
    options: ChatOptions,
  ) {
    this.template = checkTemplate(options.template, templates);
    this.history = checkMessages(options);
  }

  /** All turns so far, the system's included. */
  get messages(): readonly ChatMessage[] {
    return [...this.history];
  }

  /** Of the last turn. */
  get lastResult(): GenerateResult | undefined {
    return this.session.lastResult;
  }

  /**
   * Says something and streams the answer. The result's `usage.cachedTokens` tells how much of the conversation was still in
   * the cache. An answer that was cut short stays in the conversation as far as it was shown; after an error, or an abort
   * before the first token, the turn has not been.
   *
   * Throws INVALID_ARGUMENT, TEMPLATE_ERROR, CONTEXT_FULL and DISPOSED at once; the iterator throws what
   * `Session.generate` throws.
   */
  send(text: string, options?: GenerateOptions): AsyncGenerator<Piece, GenerateResult, void> {
    if (typeof text !== 'string') throw expected('a string', 'text', text);
    const turn: ChatMessage = { role: 'user', content: text };
    const tokens = encodeChat(this.tokenizer, this.template, { messages: [...this.history, turn] });
    return this.answer(turn, this.session.generateFrom(tokens, options));
  }

  dispose(): void {
    this.session.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private async *answer(
    turn: ChatMessage,
    pieces: AsyncGenerator<Piece, GenerateResult, void>,
  ): AsyncGenerator<Piece, GenerateResult, void> {
    let failed = false;
    try {
      return yield* pieces;
    } catch (error) {
      failed = true;
      throw error;
    } finally {
      const result = this.session.lastResult;
      if (!failed && result && (result.finishReason !== 'abort' || result.tokens.length > 0)) {
        this.history.push(turn, { role: 'assistant', content: result.text });
      }
    }
  }
}

function checkTemplate(given: unknown, templates: Readonly<Record<string, string>>): string {
  if (given !== undefined) {
    if (typeof given !== 'string' || given === '') throw expected('a Jinja template', 'template', given);
    return given;
  }
  const template = chooseTemplate(templates);
  if (template === undefined) {
    throw new VivaceError('UNSUPPORTED_FEATURE', 'The model file has no chat template', {
      remedy: 'Pass a Jinja template as `template`, or use `createSession` for a model that only continues texts.',
    });
  }
  return template;
}

function checkMessages({ system, messages = [] }: ChatOptions): ChatMessage[] {
  if (system !== undefined && typeof system !== 'string') throw expected('a string', 'system', system);
  if (!Array.isArray(messages)) throw expected('an array of messages', 'messages', messages);
  for (const message of messages as readonly (ChatMessage | null)[]) {
    if (typeof message?.role !== 'string') throw expected('objects with `role` and `content`', 'messages', message);
  }
  return [
    ...(system === undefined ? [] : [{ role: 'system', content: system }]),
    ...(messages as readonly ChatMessage[]),
  ];
}
