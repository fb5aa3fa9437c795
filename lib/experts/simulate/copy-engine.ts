// A link that copies one thing at a time: urgent copies first, but never in place of one that has begun.

export interface Copy {
  readonly key: number;
  readonly seconds: number;
  /** Copies of equal priority go in the order in which they were asked for; 0 is the most urgent. */
  priority: number;
  readonly asked: number;
  readonly order: number;
  /** Of `seconds`, still to go; pieces of it are what an urgent copy cannot overtake. */
  left: number;
}

export interface Busy {
  readonly key: number;
  readonly start: number;
  readonly end: number;
}

export class CopyEngine {
  /** When each copy that is complete and was not dropped ended. */
  private readonly ready = new Map<number, number>();
  private readonly waiting = new Map<number, Copy>();
  private readonly dropped = new Set<number>();
  private running: { copy: Copy; end: number } | undefined;
  private free = 0;
  private count = 0;
  readonly busy: Busy[] = [];

  /** Copies are moved in `pieces` of equal length; an urgent one waits for the piece under way, not for the whole. */
  constructor(private readonly pieces = 1) {}

  /** Whether it is here, under way or waiting. */
  has(key: number): boolean {
    return this.ready.has(key) || this.waiting.has(key) || (this.running?.copy.key === key && !this.dropped.has(key));
  }

  ask(key: number, seconds: number, priority: number, now: number): void {
    if (this.running?.copy.key === key) {
      this.dropped.delete(key); // wanted again while it is under way
      return;
    }
    if (this.has(key)) return;
    this.waiting.set(key, { key, seconds, priority, asked: now, order: this.count++, left: seconds });
  }

  promote(key: number): void {
    const copy = this.waiting.get(key);
    if (copy) copy.priority = 0;
  }

  /** Forgets a copy: one that waits is never made, one under way ends but is not kept. */
  drop(key: number): void {
    this.waiting.delete(key);
    this.ready.delete(key);
    if (this.running?.copy.key === key) this.dropped.add(key);
  }

  /** Works until `now`. */
  advance(now: number): void {
    while (this.step(now));
  }

  /** Works until this copy is complete, and says when that was. The copy must have been asked for. */
  complete(key: number): number {
    for (;;) {
      const end = this.ready.get(key);
      if (end !== undefined) return end;
      if (!this.step(Infinity)) throw new Error(`nobody asked for copy ${key}`);
    }
  }

  /** Ends or begins one piece, if that happens before `now`. */
  private step(now: number): boolean {
    if (this.running) {
      const { copy, end } = this.running;
      if (end > now) return false;
      this.free = end;
      this.running = undefined;
      if (this.dropped.delete(copy.key)) return true;
      if (copy.left > copy.seconds * 1e-9) this.waiting.set(copy.key, copy);
      else this.ready.set(copy.key, end);
      return true;
    }
    // What is asked for later than the link is free begins when it is asked for.
    let next: Copy | undefined;
    for (const copy of this.waiting.values()) {
      const start = Math.max(this.free, copy.asked);
      const best = next && Math.max(this.free, next.asked);
      if (!next || best === undefined || start < best || (start === best && before(copy, next))) next = copy;
    }
    if (!next) return false;
    const start = Math.max(this.free, next.asked);
    if (start >= now) return false; // what is asked for at `now` may still change the order
    const length = Math.min(next.left, next.seconds / this.pieces);
    this.waiting.delete(next.key);
    next.left -= length;
    this.running = { copy: next, end: start + length };
    this.busy.push({ key: next.key, start, end: start + length });
    return true;
  }
}

const before = (a: Copy, b: Copy): boolean =>
  a.priority < b.priority || (a.priority === b.priority && a.order < b.order);
