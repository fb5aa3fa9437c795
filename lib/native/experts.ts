// Types of the native store that brings experts into memory (cpp/experts/expert_store.h).

/** Matrices of experts that a program's description gives no data for, layer by layer in the program's order. */
export interface NativeExperts {
  readonly files: readonly string[];
  readonly experts: number;
  /** Experts in memory at once, and how many of each layer may stay. */
  readonly slots: number;
  readonly capacities: Int32Array;
  /** [layers, 3]: bytes of an expert's gate, up and down. */
  readonly bytes: Float64Array;
  /** [layers, experts, 3, 2]: the file that a matrix lies in, and where. */
  readonly places: Float64Array;
  /** 0 fixed, 1 LRU, 2 ARC. */
  readonly replacement: number;
  /** 0 none, 1 the next layer's router, 2 activation paths. */
  readonly predictor: number;
  /** Experts of a layer that activation paths predict for one row. */
  readonly predictedMost: number;
  /** Experts are computed as they arrive. */
  readonly pipelined: boolean;
  readonly readers: number;
  readonly chunkBytes: number;
  /** [runs, layers, scriptMost]: what is predicted where the predictor is 3; −1: nothing. */
  readonly script: Int32Array;
  readonly scriptMost: number;
  /** Of all reads together; 0: no limit. */
  readonly bytesPerSecond: number;
  /** Tests: every chunk takes up to so long more, at random. */
  readonly delayUs: number;
}

export interface NativeExpertStatistics {
  readonly slotBytes: number;
  readonly runs: number;
  readonly copies: number;
  readonly bytes: number;
  readonly dropped: number;
  readonly stallSeconds: number;
  readonly linkSeconds: number;
  readonly direct: boolean;
  /** [layers, 6]: needed, hits, predicted, missed, choices, foreseen (cpp/experts/store_statistics.h). */
  readonly layers: Float64Array;
}
