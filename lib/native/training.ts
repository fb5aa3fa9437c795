// Types of the addon: steps of training. Part of lib/native.ts.

/** A step of distillation; shapes and meaning as in cpp/decode/draft/adapt/distil.h. */
export interface NativeDistilStep {
  readonly rows: number;
  readonly width: number;
  readonly vocab: number;
  readonly rank: number;
  readonly hidden: Float32Array;
  readonly logits: Float32Array;
  readonly mapped: Uint8Array;
  readonly starts: Int32Array;
  readonly ids: Int32Array;
  readonly laws: Float32Array;
  readonly labels: Int32Array;
  readonly weights: Float32Array;
  /** 0 reverse KL, 1 KL, 2 total variation. */
  readonly loss: number;
  readonly lambda: number;
  readonly step: number;
  readonly rate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly decay: number;
  readonly clip: number;
  /** Changed: [rank, width], [vocab, rank], and the means of their gradients and of the squares [2, size]. */
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly momentsA: Float32Array;
  readonly momentsB: Float32Array;
  /** Filled: mean loss of laws, of labels, and the gradient's norm. */
  readonly losses: Float32Array;
}

export interface NativeTraining {
  /** Off the JavaScript thread; nobody touches the arrays meanwhile. `state` [2]: not 0 in the second ends it with ABORTED. */
  distil(step: NativeDistilStep, state: Int32Array): Promise<void>;
  /** The gradients alone, at once. */
  distilGradient(step: NativeDistilStep & { gradientA: Float32Array; gradientB: Float32Array }): void;
}
