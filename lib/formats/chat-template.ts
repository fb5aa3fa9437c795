// Chat templates: messages to text, and to token ids that no message can forge.
export { chooseTemplate, renderChat } from './chat/chat.js';
export { encodeChat } from './chat/encode.js';
export type { ChatInput, ChatMessage, ContentPart, ToolCall } from './chat/messages.js';
export { renderTemplate, templateLimits } from './chat/render.js';
