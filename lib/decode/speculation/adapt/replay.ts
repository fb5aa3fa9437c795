// Rows that a drafter learns from, the newest ones and by chance older ones: what it knew of each without the addition.
import { philoxUniform } from '../../philox.js';
import type { Lesson } from './lessons.js';

export interface ReplayRow extends Omit<Lesson, 'row'> {
  /** [width], what the output matrix multiplies. */
  readonly hidden: Float32Array;
  /** [vocab] */
  readonly logits: Float32Array;
}

export class Replay {
  private readonly rows: ReplayRow[] = [];
  private next = 0; // place of the next row
  private unseen: ReplayRow[] = [];
  private draws = 0n;

  /** Keeps the newest `capacity` rows. */
  constructor(private readonly capacity: number) {}

  get length(): number {
    return this.rows.length;
  }

  /** Rows that have not been in a batch. */
  get fresh(): number {
    return this.unseen.length;
  }

  push(row: ReplayRow): void {
    this.rows[this.next] = row;
    this.next = (this.next + 1) % this.capacity;
    this.unseen.push(row);
    if (this.unseen.length > this.capacity) this.unseen.shift();
  }

  /** Half of it new rows, where there are so many, the rest any. */
  batch(size: number): ReplayRow[] {
    const fresh = this.unseen.splice(0, size / 2);
    while (fresh.length < Math.min(size, this.rows.length)) {
      const place = Math.floor(philoxUniform(1n, this.draws++) * this.rows.length);
      fresh.push(this.rows[place]);
    }
    return fresh;
  }

  clear(): void {
    this.rows.length = 0;
    this.unseen = [];
    this.next = 0;
  }
}
