// Types of the addon: labels of keys in a KV cache. Part of lib/native.ts.

/** As `LabelOptions` of cpp/caches/labels/labels.h. */
export interface NativeLabels {
  /** Channels of a label: a multiple of 8. */
  readonly channels: number;
  /** 2, 4, 8 or 16. */
  readonly bits: number;
  /** Labels of a token in one layer: as many as KV heads, or as query heads. */
  readonly sets: number;
  /** [layers][sets][channels]: channels of keys as the cache has them, after the rotation. */
  readonly table: Int32Array;
  /** [layers]: 0 where rows attend to all that they see. */
  readonly sparse: Uint8Array;
  /** Tokens that a row attends to. */
  readonly tokens: number;
  /** Or one of so many that it sees, if that is more; 0: no such rule. */
  readonly share: number;
  /** A row that sees no more than this attends to all. */
  readonly threshold: number;
  /** Tokens before the row's own, and first ones, that are always among them. */
  readonly recent: number;
  readonly sinks: number;
  /** One choice for all query heads of a KV head. */
  readonly grouped: boolean;
}
