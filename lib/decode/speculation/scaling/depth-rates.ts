// Which share of drafts that came to a depth kept a token there, the newest counting most.

export class DepthRates {
  private readonly reached: number[];
  private readonly kept: number[];
  private readonly fade: number;

  /** `assumed`: per depth, what counts as much as `weight` drafts; `halfLife`: drafts after which one counts half. */
  constructor(
    private readonly assumed: readonly number[],
    halfLife = 256,
    weight = 16,
  ) {
    this.reached = assumed.map(() => weight);
    this.kept = assumed.map((rate) => weight * rate);
    this.fade = 2 ** (-1 / halfLife);
  }

  /** A draft of `depth` tokens was verified, and `kept` of them stayed. */
  learn(depth: number, kept: number): void {
    for (let place = 0; place < this.assumed.length; place++) {
      this.reached[place] *= this.fade;
      this.kept[place] *= this.fade;
      if (place >= depth || place > kept) continue;
      this.reached[place]++;
      if (place < kept) this.kept[place]++;
    }
  }

  /** Per depth: rate seen over rate assumed; depths that were hardly seen go with the one before. */
  corrections(): number[] {
    let last = 1;
    return this.assumed.map((rate, depth) => {
      if (this.reached[depth] > 4 && rate > 0) last = Math.max(0.02, this.kept[depth] / this.reached[depth] / rate);
      return last;
    });
  }

  /** Per depth: the share of drafts that keep a token there, were they that long. */
  paths(most: number): number[] {
    let path = 1;
    return this.corrections()
      .slice(0, most)
      .map((correction, depth) => (path *= Math.min(1, correction * this.assumed[depth])));
  }
}
