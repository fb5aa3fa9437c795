// Goes through every outcome of a body that decides at random, with the probability of each.
export interface Dice {
  /** An index of `weights`, which sum to 1. */
  choose(weights: ArrayLike<number>): number;
}

export function enumerate<T>(body: (dice: Dice) => T): { value: T; probability: number }[] {
  const outcomes: { value: T; probability: number }[] = [];
  let script: readonly number[] | undefined = []; // choices to repeat; after them the first possible ones are taken
  while (script) {
    const given: readonly number[] = script;
    const taken: { choice: number; weights: readonly number[] }[] = [];
    let probability = 1;
    const value = body({
      choose(distribution) {
        const weights = Array.from(distribution);
        const choice = given[taken.length] ?? possible(weights, 0);
        taken.push({ choice, weights });
        probability *= weights[choice];
        return choice;
      },
    });
    outcomes.push({ value, probability });
    script = undefined;
    for (let last = taken.pop(); last && !script; last = script ? last : taken.pop()) {
      const next = possible(last.weights, last.choice + 1);
      if (next >= 0) script = [...taken.map(({ choice }) => choice), next];
    }
  }
  return outcomes;
}

const possible = (weights: readonly number[], from: number): number =>
  weights.findIndex((weight, index) => index >= from && weight > 0);
