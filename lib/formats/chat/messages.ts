// Messages as callers write them, and what a template's limits make of them.

export type ContentPart = { readonly type: string; readonly text?: string; readonly [field: string]: unknown };

export interface ToolCall {
  readonly id?: string;
  readonly type?: string;
  readonly function: { readonly name: string; readonly arguments: unknown };
  readonly [field: string]: unknown;
}

/** One turn, in the field's common shape; more fields reach the template as they are. */
export interface ChatMessage {
  readonly role: string;
  readonly content?: string | null | readonly ContentPart[];
  readonly tool_calls?: readonly ToolCall[];
  readonly [field: string]: unknown;
}

export interface ChatInput {
  readonly messages: readonly ChatMessage[];
  /** JSON schemas of functions, as in `{type: "function", function: {name, description, parameters}}`. */
  readonly tools?: readonly unknown[];
  readonly documents?: readonly unknown[];
  /** End with the head of an assistant turn. Default true. */
  readonly addGenerationPrompt?: boolean;
  /** Texts of these tokens, for templates that write them. */
  readonly bosToken?: string;
  readonly eosToken?: string;
  /** More variables of the template (enable_thinking, date_string, …). */
  readonly extra?: Readonly<Record<string, unknown>>;
  /** The time of strftime_now(). Default: now. */
  readonly now?: Date;
}
