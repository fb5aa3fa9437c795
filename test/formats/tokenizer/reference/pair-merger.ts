// The merging loop of BPE and of SentencePiece: always the neighbouring pair of lowest rank, of equals the leftmost.

/** Says whether two neighbours may become one. Indices are positions in the merger's arrays. */
export interface PairRule {
  /** The rank of the pair, below 2^22, or -1; leaves the merged symbol in `merged`. */
  rank(merger: PairMerger, left: number, right: number): number;
  merged: number;
}

const KEPT = 1 << 18; // positions
const POSITIONS = 2 ** 31; // heap key = rank · 2^31 + position, exact in a double

/** Symbols as a doubly linked list in typed arrays, reused from piece to piece; n log n for n symbols. */
export class PairMerger {
  symbol = new Int32Array(0); // what stands at a position
  end = new Int32Array(0); // one past its last byte
  start = new Int32Array(0); // its first byte
  private next = new Int32Array(0);
  private previous = new Int32Array(0);
  private ranks = new Int32Array(0); // of the pair (i, next i), or -1
  private results = new Int32Array(0); // what that pair merges to
  private heap = new Float64Array(0);
  private heapSize = 0;

  reserve(count: number): void {
    if (count <= this.symbol.length) return;
    this.allocate(Math.max(64, 2 * count));
  }

  private allocate(capacity: number): void {
    this.symbol = new Int32Array(capacity);
    this.start = new Int32Array(capacity);
    this.end = new Int32Array(capacity);
    this.next = new Int32Array(capacity);
    this.previous = new Int32Array(capacity);
    this.ranks = new Int32Array(capacity);
    this.results = new Int32Array(capacity);
    this.heap = new Float64Array(3 * capacity); // n - 1 first pairs, then two for each of n - 1 merges
  }

  /** Merges the first `count` positions until nothing merges, then calls `emit` with the position of each survivor. */
  run(count: number, rule: PairRule, emit: (position: number) => void): void {
    this.heapSize = 0;
    for (let i = 0; i < count; i++) {
      this.next[i] = i + 1 < count ? i + 1 : -1;
      this.previous[i] = i - 1;
    }
    for (let i = 0; i < count; i++) this.consider(i, rule);
    while (this.heapSize > 0) {
      const key = this.pop();
      const left = key % POSITIONS;
      if (this.ranks[left] !== (key - left) / POSITIONS) continue; // the pair has changed since
      const right = this.next[left];
      this.symbol[left] = this.results[left];
      this.end[left] = this.end[right];
      const after = this.next[right];
      this.next[left] = after;
      if (after >= 0) this.previous[after] = left;
      this.ranks[right] = -1;
      if (this.previous[left] >= 0) this.consider(this.previous[left], rule);
      this.consider(left, rule);
    }
    for (let i = count > 0 ? 0 : -1; i >= 0; i = this.next[i]) emit(i);
    if (this.symbol.length > KEPT) this.allocate(0); // one long piece must not hold its memory for ever
  }

  private consider(left: number, rule: PairRule): void {
    const right = this.next[left];
    const rank = right < 0 ? -1 : rule.rank(this, left, right);
    this.ranks[left] = rank;
    if (rank < 0) return;
    this.results[left] = rule.merged;
    this.push(rank * POSITIONS + left);
  }

  private push(key: number): void {
    const heap = this.heap;
    let at = this.heapSize++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent] <= key) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = key;
  }

  private pop(): number {
    const heap = this.heap;
    const top = heap[0];
    const size = --this.heapSize;
    const key = heap[size];
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && heap[child + 1] < heap[child]) child++;
      if (heap[child] >= key) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = key;
    return top;
  }
}
