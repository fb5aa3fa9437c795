// What all drafters written in C++ share: the way to native code and back.
import { native, nativeCall } from '../../../native.js';
import type { NativeDrafter, NativeDrafterOptions } from '../../../native.js';
import { expected } from '../../../errors.js';
import { integer } from '../../option-checks.js';
import type { DraftedTokens, TokenDrafter } from '../drafter.js';

/** The longest and the largest draft. */
const most = 4096;

/**
 * Members throw DISPOSED after dispose(), OUT_OF_MEMORY, and CONTEXT_FULL for texts of more than 2^30 tokens. What a drafter
 * knows is a function of its text: after truncate() it drafts as one that never saw what was cut off.
 */
export class NativeTokenDrafter implements TokenDrafter {
  readonly native: NativeDrafter;

  protected constructor(native: NativeDrafter) {
    this.native = native;
  }

  accept(tokens: Int32Array): void {
    if (!(tokens instanceof Int32Array)) throw expected('an Int32Array', 'tokens', tokens);
    nativeCall(() => this.native.accept(tokens));
  }

  truncate(length: number): void {
    const checked = integer('length', length, 0, 0, Number.MAX_SAFE_INTEGER);
    nativeCall(() => this.native.truncate(checked));
  }

  draft(maxTokens: number, maxNodes: number): DraftedTokens {
    const depth = integer('maxTokens', maxTokens, 0, 0, most);
    const nodes = integer('maxNodes', maxNodes, 0, 0, most);
    const tokens = new Int32Array(nodes);
    const parents = new Int32Array(nodes);
    const scores = new Float32Array(nodes);
    const count = nativeCall(() => this.native.draft(depth, nodes, tokens, parents, scores));
    return {
      tokens: tokens.subarray(0, count),
      parents: parents.subarray(0, count),
      scores: scores.subarray(0, count),
    };
  }

  fork(): NativeTokenDrafter {
    return new NativeTokenDrafter(nativeCall(() => this.native.fork()));
  }

  /** Bytes of memory that this drafter alone holds. */
  get bytes(): number {
    return this.native.bytes;
  }

  dispose(): void {
    this.native.dispose();
  }
}

/** A native drafter of these options, which are checked already. */
export function makeNative(options: NativeDrafterOptions): NativeDrafter {
  return nativeCall(() => new (native().Drafter)(options));
}
