// Random numbers for splits of data: the same for the same seed everywhere.
import { philoxUniform } from '../../philox.js';

export class Draws {
  private index = 0n;
  constructor(private readonly seed: number) {}

  /** An integer from 0 to `count` − 1. */
  below(count: number): number {
    return Math.min(count - 1, Math.floor(philoxUniform(BigInt(this.seed), this.index++) * count));
  }
}
