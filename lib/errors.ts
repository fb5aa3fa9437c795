// The one error class of the project: a stable code, what happened, and what to do about it.

/** Every code that vivace can throw. Codes are stable; messages are not. */
export type ErrorCode =
  | 'INVALID_ARGUMENT'
  | 'FILE_NOT_FOUND'
  | 'FILE_UNREADABLE'
  | 'FORMAT_UNKNOWN'
  | 'FORMAT_TRUNCATED'
  | 'FORMAT_INVALID'
  | 'FORMAT_LIMIT'
  | 'UNSUPPORTED_ARCHITECTURE'
  | 'UNSUPPORTED_TENSOR_TYPE'
  | 'UNSUPPORTED_TOKENIZER'
  | 'UNSUPPORTED_FEATURE'
  | 'MISSING_TENSOR'
  | 'SHAPE_MISMATCH'
  | 'DTYPE_MISMATCH'
  | 'OUT_OF_MEMORY'
  | 'CONTEXT_FULL'
  | 'TEMPLATE_ERROR'
  | 'NATIVE_LOAD_FAILED'
  | 'DEVICE_UNAVAILABLE'
  | 'DEVICE_LOST'
  | 'DISPOSED'
  | 'BUSY'
  | 'ABORTED'
  | 'NUMERIC'
  | 'INTERNAL';

/** Anything that vivace throws. `code` is stable, `remedy` says what the caller can do, `cause` is the error beneath. */
export class VivaceError extends Error {
  override readonly name = 'VivaceError';
  readonly code: ErrorCode;
  readonly remedy?: string;

  constructor(code: ErrorCode, message: string, options: { remedy?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    if (options.remedy !== undefined) this.remedy = options.remedy;
  }
}

/** `Expected X for name, received Y`, the one sentence of every argument check. */
export function expected(what: string, name: string, received: unknown, remedy?: string): VivaceError {
  return new VivaceError('INVALID_ARGUMENT', `Expected ${what} for \`${name}\`, received ${describe(received)}`, {
    remedy,
  });
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}…` : value);
  if (typeof value === 'object' || typeof value === 'function') {
    return (value as { constructor?: { name?: string } }).constructor?.name ?? typeof value;
  }
  return String(value);
}
