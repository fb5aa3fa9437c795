// From messages to the text that a template makes of them.
import { adaptMessages } from './adapt.js';
import { capabilitiesOf } from './capabilities.js';
import type { ChatInput } from './messages.js';
import { renderTemplate } from './render.js';

/**
 * Messages are first fitted to the template: a system text goes into the first user turn where there is no system role,
 * contents become lists of parts or plain text, arguments of tool calls objects or JSON.
 * Throws TEMPLATE_ERROR with the template's own message, UNSUPPORTED_FEATURE, INVALID_ARGUMENT.
 */
export function renderChat(template: string, input: ChatInput): string {
  const messages = adaptMessages(input, capabilitiesOf(template));
  return renderTemplate(
    template,
    {
      ...input.extra,
      messages,
      tools: input.tools && input.tools.length > 0 ? input.tools : null,
      documents: input.documents && input.documents.length > 0 ? input.documents : null,
      add_generation_prompt: input.addGenerationPrompt ?? true,
      bos_token: input.bosToken ?? '',
      eos_token: input.eosToken ?? '',
    },
    input.now,
  );
}

/** The template to use among a model's: "tool_use" where there are tools, else "default", else the only one. */
export function chooseTemplate(
  templates: Readonly<Record<string, string>>,
  options: { readonly tools?: boolean } = {},
): string | undefined {
  if (options.tools && Object.hasOwn(templates, 'tool_use')) return templates.tool_use;
  if (Object.hasOwn(templates, 'default')) return templates.default;
  const [only, ...more] = Object.values(templates);
  return more.length === 0 ? only : undefined;
}
