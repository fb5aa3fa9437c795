// A target whose next token depends on the last two, and a drafter that has counted a text of it: acceptance by length of text.
import { gamma, random } from './random.js';

const VOCAB = 256;
const OWN = 4; // tokens that a context prefers
const SHARE = 0.6;

/** Mean Σ min(p, q) over contexts of the target's own text, for drafters of so many counted tokens (ascending). */
export function acceptanceOfToy(sizes: readonly number[], seed: number): number[] {
  const next = random(seed);
  const unigram = Float64Array.from({ length: VOCAB }, (_, rank) => 1 / (rank + 1));
  const total = unigram.reduce((sum, value) => sum + value, 0);
  unigram.forEach((value, token) => (unigram[token] = value / total));
  const cumulative = unigram.map(
    (
      (sum) => (value: number) =>
        (sum += value)
    )(0),
  );
  const contexts = VOCAB * VOCAB;
  const tokens = new Uint8Array(contexts * OWN);
  const shares = new Float64Array(contexts * OWN);
  for (let context = 0; context < contexts; context++) {
    const own = new Set<number>();
    while (own.size < OWN) own.add(Math.floor(next() * VOCAB));
    tokens.set([...own], context * OWN);
    const weights = Array.from({ length: OWN }, () => gamma(next, 0.5));
    const sum = weights.reduce((all, value) => all + value, 0);
    shares.set(
      weights.map((value) => value / sum),
      context * OWN,
    );
  }
  const draw = (context: number): number => {
    if (next() < SHARE) {
      let left = next();
      for (let i = 0; i < OWN; i++) if ((left -= shares[context * OWN + i]) < 0) return tokens[context * OWN + i];
      return tokens[context * OWN + OWN - 1];
    }
    const wanted = next();
    let [low, high] = [0, VOCAB - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cumulative[middle] > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  };
  const counts = new Map<number, number>(); // context · VOCAB + token
  const seen = new Uint32Array(contexts);
  let context = 0;
  let counted = 0;
  const marginal = new Float64Array(VOCAB); // the drafter knows its text and nothing else
  return sizes.map((size) => {
    for (; counted < size; counted++) {
      const token = draw(context);
      counts.set(context * VOCAB + token, (counts.get(context * VOCAB + token) ?? 0) + 1);
      seen[context]++;
      marginal[token]++;
      context = (context % VOCAB) * VOCAB + token;
    }
    let accepted = 0;
    const probes = 4000;
    let probe = context;
    for (let i = 0; i < probes; i++) {
      for (let token = 0; token < VOCAB; token++) {
        let p = (1 - SHARE) * unigram[token];
        for (let j = 0; j < OWN; j++) if (tokens[probe * OWN + j] === token) p += SHARE * shares[probe * OWN + j];
        const q = ((counts.get(probe * VOCAB + token) ?? 0) + 8 * (marginal[token] / size)) / (seen[probe] + 8);
        accepted += Math.min(p, q) / probes;
      }
      probe = (probe % VOCAB) * VOCAB + draw(probe);
    }
    return accepted;
  });
}
