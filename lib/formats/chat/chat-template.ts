// Chat templates: messages to text, and to token ids that no message can forge.
export { chooseTemplate, renderChat } from './chat.js';
export { encodeChat } from './encode.js';
export type { ChatInput, ChatMessage, ContentPart, ToolCall } from './messages.js';
export { renderTemplate, templateLimits } from './render.js';
