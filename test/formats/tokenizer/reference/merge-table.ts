// The merges of a BPE vocabulary as a hash of pairs.

/** (left, right) → (rank, merged): four integers a slot, open addressing, load ≤ 1/2; of equal pairs the first stays. */
export class MergeTable {
  private readonly slots: Int32Array; // [capacity, 4]: left + 1, right, rank, merged
  private readonly mask: number;

  constructor(count: number) {
    let capacity = 16;
    while (capacity < 2 * count) capacity *= 2;
    this.mask = capacity - 1;
    this.slots = new Int32Array(4 * capacity);
  }

  add(left: number, right: number, rank: number, merged: number): void {
    let slot = this.place(left, right);
    while (this.slots[4 * slot] !== 0) {
      if (this.slots[4 * slot] === left + 1 && this.slots[4 * slot + 1] === right) return;
      slot = (slot + 1) & this.mask;
    }
    this.slots.set([left + 1, right, rank, merged], 4 * slot);
  }

  find(left: number, right: number): number {
    const slots = this.slots;
    let slot = this.place(left, right);
    for (;;) {
      const first = slots[4 * slot];
      if (first === 0) return -1;
      if (first === left + 1 && slots[4 * slot + 1] === right) return slot;
      slot = (slot + 1) & this.mask;
    }
  }

  rank(slot: number): number {
    return this.slots[4 * slot + 2];
  }

  merged(slot: number): number {
    return this.slots[4 * slot + 3];
  }

  private place(left: number, right: number): number {
    const mixed = Math.imul(Math.imul(left, 0x9e3779b1 | 0) ^ right, 0x85ebca6b | 0);
    return (mixed ^ (mixed >>> 15)) & this.mask;
  }
}
