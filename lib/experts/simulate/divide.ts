// Which of a layer's missing experts are copied and which are computed where their weights lie, both at the same time (Fiddler).

export interface Price {
  readonly id: number;
  /** Seconds of the side where the weights lie. */
  readonly there: number;
  /** Seconds of the link and of the fast side. */
  readonly here: number;
}

/** Up to so many experts all divisions are tried. */
const EXHAUSTIVE = 10;

/**
 * The ids to compute there, such that the side that is done last is done soonest; of equal divisions the one with fewer there. Beyond ten
 * experts each goes, the dearest to copy first, to the side that would be done with it sooner.
 */
export function divide(prices: readonly Price[]): Set<number> {
  if (prices.length > EXHAUSTIVE) return inTurn(prices);
  let best = { set: 0, seconds: Infinity, count: 0 };
  for (let set = 0; set < 1 << prices.length; set++) {
    let here = 0;
    let there = 0;
    let count = 0;
    prices.forEach((price, bit) => {
      if (set & (1 << bit)) {
        there += price.there;
        count++;
      } else {
        here += price.here;
      }
    });
    const seconds = Math.max(here, there);
    if (seconds < best.seconds || (seconds === best.seconds && count < best.count)) best = { set, seconds, count };
  }
  return new Set(prices.filter((_, bit) => best.set & (1 << bit)).map(({ id }) => id));
}

function inTurn(prices: readonly Price[]): Set<number> {
  const chosen = new Set<number>();
  let here = 0;
  let there = 0;
  for (const price of [...prices].sort((a, b) => b.here - a.here || a.id - b.id)) {
    if (there + price.there < here + price.here) {
      there += price.there;
      chosen.add(price.id);
    } else {
      here += price.here;
    }
  }
  return chosen;
}
