// The public API.
export { loadModel, embeddedModelPath } from './model/load.js';
export type { Device, LoadOptions } from './model/load.js';
export type { CacheOptions, CacheType, Model, SessionOptions } from './model/model.js';
export type { ModelInfo } from './model/info.js';
export type { Prompt, Session } from './session/session.js';
export type { Chat, ChatMessage, ChatOptions } from './chat.js';
export type { Piece, TokenLogprob, TokenLogprobs } from './decode/answer.js';
export type { FinishReason, GenerateResult } from './decode/loop.js';
export { generateDefaults } from './decode/options.js';
export type { GenerateOptions } from './decode/options.js';
export type { Tokenizer, EncodeOptions, DecodeOptions, SpecialIds } from './formats/tokenizer/tokenizer.js';
export { TextStream } from './formats/tokenizer/text-stream.js';
export { openModelFile } from './formats/open.js';
export type { ModelSource, TensorSource } from './formats/model-source.js';
export { estimateMemory } from './models/memory.js';
export type { MemoryEstimate, MemoryOptions } from './models/memory.js';
export { VivaceError } from './errors.js';
export type { ErrorCode } from './errors.js';
