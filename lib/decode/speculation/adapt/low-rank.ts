// The weights that a drafter learns, AdamW's memory of their gradients, and their file.
// The file's layout: safetensors with a [rank, width], b [vocab, rank], a.moments and b.moments [2, …], all F32, and metadata; with a
// stop head its parameters and moments, too.
import { VivaceError } from '../../../errors.js';
import { readExactly, withFile } from '../../../formats/file.js';
import { writeSafetensors } from '../../../formats/safetensors-writer.js';
import { openSafetensors } from '../../../formats/safetensors.js';
import { philoxUniform } from '../../philox.js';
import type { StopHead } from './stop-head.js';

const FORMAT = 'adapter-v1';

export interface LowRankShape {
  readonly rank: number;
  readonly width: number;
  readonly vocab: number;
}

/** Of which drafter and which target: their fingerprints. */
export interface LowRankOwner {
  readonly drafter: string;
  readonly target: string;
}

export class LowRank {
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly momentsA: Float32Array;
  readonly momentsB: Float32Array;
  /** Steps of training so far. */
  steps = 0;
  /** Where drafts end; in the file where it is here, and read from files that have it. */
  head: StopHead | undefined;

  /** `b` begins with zeros, so that nothing is added. */
  constructor(readonly shape: LowRankShape) {
    const { rank, width, vocab } = shape;
    // Twelve uniform numbers make a normal one, nearly.
    const normal = (index: number): number => {
      let sum = -6;
      for (let i = 0; i < 12; i++) sum += philoxUniform(0n, BigInt(index), BigInt(i));
      return sum;
    };
    this.a = Float32Array.from({ length: rank * width }, (_, i) => normal(i) / Math.sqrt(width));
    this.b = new Float32Array(vocab * rank);
    this.momentsA = new Float32Array(2 * this.a.length);
    this.momentsB = new Float32Array(2 * this.b.length);
  }

  /** Copies of the two matrices. */
  weights(): LowRankWeights {
    return { a: this.a.slice(), b: this.b.slice() };
  }

  /** Other weights; what was known of gradients is forgotten. */
  reset({ a, b }: LowRankWeights): void {
    this.a.set(a);
    this.b.set(b);
    this.momentsA.fill(0);
    this.momentsB.fill(0);
  }

  /** Throws FILE_*. */
  save(path: string, { drafter, target }: LowRankOwner): void {
    writeSafetensors(path, {
      tensors: this.tensors().map(({ name, shape, data }) => ({
        name,
        type: 'F32',
        shape,
        data: Buffer.from(data.buffer, data.byteOffset, data.byteLength),
      })),
      metadata: {
        format: FORMAT,
        drafter,
        target,
        steps: String(this.steps),
        ...(this.head ? { stop: `${this.head.steps} ${this.head.rows}` } : {}),
      },
    });
  }

  /** Throws FILE_*, FORMAT_*, SHAPE_MISMATCH, and INVALID_ARGUMENT for a file of other models; then nothing has changed. */
  restore(path: string, { drafter, target }: LowRankOwner): void {
    const { tensors, metadata } = openSafetensors(path);
    if (metadata.get('format') !== FORMAT) {
      throw new VivaceError('FORMAT_INVALID', `${path} is no file of what a drafter learned`);
    }
    for (const [name, own] of Object.entries({ drafter, target })) {
      if (metadata.get(name) === own) continue;
      throw new VivaceError('INVALID_ARGUMENT', `${path} was learned with another ${name}`, {
        remedy: 'Begin without it.',
      });
    }
    const steps = Number(metadata.get('steps'));
    if (!Number.isSafeInteger(steps) || steps < 0)
      throw new VivaceError('FORMAT_INVALID', `${path}: its steps are wrong`);
    const stop = metadata.get('stop');
    const [headSteps, headRows] = (stop ?? '0 0').split(' ').map(Number);
    if (!Number.isSafeInteger(headSteps) || headSteps < 0 || !Number.isSafeInteger(headRows) || headRows < 0)
      throw new VivaceError('FORMAT_INVALID', `${path}: the steps of its stop head are wrong`);
    const wanted = this.tensors(stop !== undefined);
    const read = wanted.map(({ name, shape, data }) => {
      const found = tensors.get(name);
      if (found?.type === 'F32' && found.shape.join() === shape.join()) {
        const values = new Float32Array(data.length);
        withFile(path, (fd) => readExactly(path, fd, new Uint8Array(values.buffer), found.offset));
        if (values.every(Number.isFinite)) return values;
        throw new VivaceError('FORMAT_INVALID', `${path}: ${name} has values that are no numbers`);
      }
      throw new VivaceError(
        'SHAPE_MISMATCH',
        `${path}: ${name} is ${found ? `${found.type} [${found.shape.join(', ')}]` : 'missing'}, not F32 [${shape.join(', ')}]`,
      );
    });
    wanted.forEach(({ data }, i) => data.set(read[i]));
    this.steps = steps;
    if (this.head && stop !== undefined) Object.assign(this.head, { steps: headSteps, rows: headRows });
  }

  private tensors(withHead = true): { name: string; shape: readonly number[]; data: Float32Array }[] {
    const { rank, width, vocab } = this.shape;
    const { head } = this;
    return [
      { name: 'a', shape: [rank, width], data: this.a },
      { name: 'b', shape: [vocab, rank], data: this.b },
      { name: 'a.moments', shape: [2, rank, width], data: this.momentsA },
      { name: 'b.moments', shape: [2, vocab, rank], data: this.momentsB },
      ...(head && withHead
        ? [
            { name: 'stop', shape: [head.parameters.length], data: head.parameters },
            { name: 'stop.moments', shape: [2, head.parameters.length], data: head.moments },
          ]
        : []),
    ];
  }
}

export interface LowRankWeights {
  readonly a: Float32Array;
  readonly b: Float32Array;
}
