// Fits messages to what their template can take, or says what it cannot.
import { expected, VivaceError } from '../../errors.js';
import type { Capabilities } from './capabilities.js';
import type { ChatInput, ChatMessage, ContentPart } from './messages.js';

/** Throws INVALID_ARGUMENT for malformed messages and UNSUPPORTED_FEATURE for what the template would drop. */
export function adaptMessages(input: ChatInput, able: Capabilities): ChatMessage[] {
  if (!Array.isArray(input.messages)) throw expected('a list of messages', 'messages', input.messages);
  let messages = input.messages.map((message, i) => adaptOne(checked(message, i), able));
  if (input.tools && input.tools.length > 0 && !able.tools) throw unsupported('tools');
  if (messages.some(({ tool_calls: calls }) => calls && calls.length > 0) && !able.toolCalls)
    throw unsupported('tool calls');
  if (messages.some(isSystem) && !able.system) messages = mergeSystem(messages);
  return messages.map((message) => ({ ...message, content: shape(message.content, able) }));
}

function checked(message: ChatMessage, i: number): ChatMessage {
  if (typeof message !== 'object' || message === null) throw expected('an object', `messages[${i}]`, message);
  if (typeof message.role !== 'string' || message.role === '')
    throw expected('a role', `messages[${i}].role`, message.role);
  const { content } = message;
  if (content === undefined || content === null || typeof content === 'string' || Array.isArray(content))
    return message;
  throw expected('text, a list of parts or null', `messages[${i}].content`, content);
}

function adaptOne(message: ChatMessage, able: Capabilities): ChatMessage {
  const { tool_calls: calls, content } = message;
  if (!calls || calls.length === 0) return { ...message, content: content ?? '' };
  const wanted = able.toolArguments;
  const tool_calls = calls.map((call) => {
    const given = call.function?.arguments;
    return {
      ...call,
      function: { ...call.function, arguments: wanted === 'object' ? toObject(given) : toText(given) },
    };
  });
  return { ...message, content: content ?? (able.nullContent ? null : ''), tool_calls };
}

function toObject(value: unknown): unknown {
  if (typeof value !== 'string') return value ?? {};
  try {
    return JSON.parse(value);
  } catch {
    return value; // a model may have written broken JSON: the template shows it as it is
  }
}

function toText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? {});
}

const isSystem = ({ role }: ChatMessage): boolean => role === 'system' || role === 'developer';

/** The system texts go in front of the first user turn, or become one. */
function mergeSystem(messages: readonly ChatMessage[]): ChatMessage[] {
  const system = messages
    .filter(isSystem)
    .map(({ content }) => textOf(content))
    .filter((text) => text !== '')
    .join('\n\n');
  const rest = messages.filter((message) => !isSystem(message));
  if (system === '') return rest;
  const at = rest.findIndex(({ role }) => role === 'user');
  if (at < 0) return [{ role: 'user', content: system }, ...rest];
  return rest.map((message, i) => {
    if (i !== at) return message;
    const { content } = message;
    if (Array.isArray(content)) return { ...message, content: [{ type: 'text', text: `${system}\n\n` }, ...content] };
    return { ...message, content: content ? `${system}\n\n${textOf(content)}` : system };
  });
}

function shape(content: ChatMessage['content'], able: Capabilities): ChatMessage['content'] {
  if (content === null || content === undefined) return content;
  if (typeof content === 'string') return able.typedContent === 'needed' ? [{ type: 'text', text: content }] : content;
  return able.typedContent === 'refused' ? textOf(content) : content;
}

function textOf(content: ChatMessage['content']): string {
  if (typeof content === 'string') return content;
  return (content ?? []).map(partText).join('');
}

function partText(part: ContentPart): string {
  if (part.type === 'text' && typeof part.text === 'string') return part.text;
  throw unsupported(`contents of type "${part.type}"`);
}

function unsupported(what: string): VivaceError {
  return new VivaceError('UNSUPPORTED_FEATURE', `The chat template of this model does not render ${what}`, {
    remedy: 'Use a model whose template does, or pass a template of your own.',
  });
}
