// Stop strings in a stream of text: nothing of a stop string gets out, and nothing else is held back.

/** An Aho-Corasick automaton over UTF-16 units, so that a text takes linear time whatever the stop strings are. */
export class StopFilter {
  private readonly next: Map<number, number>[] = [new Map()];
  private readonly fallback: number[] = [0];
  private readonly depth: number[] = [0];
  /** Per state: the length of the longest stop string that ends here, 0 for none. */
  private readonly found: number[] = [0];
  private state = 0;
  private held = '';

  /** The stop string that was met. */
  matched: string | undefined;

  constructor(stops: readonly string[]) {
    for (const stop of stops) this.insert(stop);
    this.link();
  }

  /** Text that can be let out now; once `matched` is set, what came before the stop string, and then nothing. */
  push(text: string): string {
    if (this.matched !== undefined) return '';
    if (this.next.length === 1) return text;
    this.held += text;
    for (let i = this.held.length - text.length; i < this.held.length; i++) {
      this.state = this.step(this.state, this.held.charCodeAt(i));
      const length = this.found[this.state];
      if (length === 0) continue;
      const begin = i + 1 - length;
      this.matched = this.held.slice(begin, i + 1);
      const out = this.held.slice(0, begin);
      this.held = '';
      return out;
    }
    // The state is the longest suffix that begins a stop string.
    const safe = this.held.length - this.depth[this.state];
    const out = this.held.slice(0, safe);
    this.held = this.held.slice(safe);
    return out;
  }

  /** The text is over: what was held back, unless a stop string was met. */
  end(): string {
    const out = this.held;
    this.held = '';
    this.state = 0;
    return out;
  }

  private insert(stop: string): void {
    let state = 0;
    for (let i = 0; i < stop.length; i++) {
      const unit = stop.charCodeAt(i);
      let child = this.next[state].get(unit);
      if (child === undefined) {
        child = this.next.push(new Map()) - 1;
        this.fallback.push(0);
        this.depth.push(i + 1);
        this.found.push(0);
        this.next[state].set(unit, child);
      }
      state = child;
    }
    this.found[state] = stop.length;
  }

  /** Breadth first: a state's fallback is shorter and therefore done before it. */
  private link(): void {
    const queue = [...this.next[0].values()];
    for (let head = 0; head < queue.length; head++) {
      const state = queue[head];
      this.found[state] ||= this.found[this.fallback[state]];
      for (const [unit, child] of this.next[state]) {
        this.fallback[child] = this.step(this.fallback[state], unit);
        queue.push(child);
      }
    }
  }

  private step(from: number, unit: number): number {
    for (let state = from; ; state = this.fallback[state]) {
      const child = this.next[state].get(unit);
      if (child !== undefined) return child;
      if (state === 0) return 0;
    }
  }
}
