// What a drafter loses by not saying what its target says, and the gradient of that: the plain form, in float64. Native code
// computes it for training (cpp/decode/draft/adapt/distil.h).
//
// Hybrid distillation, OmniDraft (Ramakrishnan et al. 2025, section 3.2). Over the drafter's tokens D that have a counterpart,
// q = softmax(z over D) is compared with the target's law P, of which the most probable tokens are known, each a class of
// itself, and what all others have together, which is one more class. With s_c the slope of the loss by q_c,
//
//   ∂L/∂z_d = q_d · (s_class(d) − Σ_c q_c s_c)
//   reverse KL  L = Σ q_c ln(q_c / P_c)    s_c = ln(q_c / P_c)      (+ 1, which cancels)
//   KL          L = Σ P_c ln(P_c / q_c)    s_c = −P_c / q_c
//   TV          L = Σ |q_c − P_c| / 2      s_c = sign(q_c − P_c) / 2
//
// Tokens of the target that the drafter writes as a run are learned by likelihood: L = −ln softmax(z)[d_j], with slope
// softmax(z) − onehot. A step's loss is the mean over rows with a law + λ · the weighted mean over rows with such a label.

export const distilLosses = ['reverse-kl', 'kl', 'tv'] as const;
export type DistilLoss = (typeof distilLosses)[number];

/** A probability whose logarithm is taken is at least this. */
const LEAST = 1e-8;

export interface DistilRow {
  readonly hidden: ArrayLike<number>;
  /** [vocab], without the addition. */
  readonly logits: ArrayLike<number>;
  /** Most probable tokens of the target, as mapped tokens of the drafter; empty: none. */
  readonly ids: readonly number[];
  readonly laws: readonly number[];
  /** −1: none. */
  readonly label: number;
  readonly weight: number;
}

export interface DistilProblem {
  readonly rows: readonly DistilRow[];
  readonly width: number;
  readonly vocab: number;
  readonly rank: number;
  /** [vocab] */
  readonly mapped: ArrayLike<number>;
  readonly loss: DistilLoss;
  readonly lambda: number;
}

/** z = logits + b · (a · hidden), with a [rank, width] and b [vocab, rank]. */
export function distillation(
  { rows, width, vocab, rank, mapped, loss, lambda }: DistilProblem,
  a: Float64Array,
  b: Float64Array,
): {
  readonly law: number;
  readonly label: number;
  readonly gradientA: Float64Array;
  readonly gradientB: Float64Array;
} {
  const gradientA = new Float64Array(rank * width);
  const gradientB = new Float64Array(vocab * rank);
  const laws = rows.filter(({ ids }) => ids.length > 0).length;
  const labels = rows.filter(({ label }) => label >= 0).length;
  let law = 0;
  let labelled = 0;
  for (const row of rows) {
    const u = Float64Array.from({ length: rank }, (_, k) => {
      let sum = 0;
      for (let j = 0; j < width; j++) sum += a[k * width + j] * row.hidden[j];
      return sum;
    });
    const z = Float64Array.from({ length: vocab }, (_, v) => {
      let sum = row.logits[v];
      for (let k = 0; k < rank; k++) sum += b[v * rank + k] * u[k];
      return sum;
    });
    const dz = new Float64Array(vocab);
    if (row.ids.length > 0) law += lawLoss(row, z, mapped, loss, 1 / laws, dz) / laws;
    if (row.label >= 0) {
      const q = softmax(z, () => true);
      const scale = (lambda * row.weight) / labels;
      q.forEach((own, v) => (dz[v] += scale * (own - Number(v === row.label))));
      labelled += (-row.weight * Math.log(q[row.label])) / labels;
    }
    for (let k = 0; k < rank; k++) {
      let du = 0;
      for (let v = 0; v < vocab; v++) {
        gradientB[v * rank + k] += dz[v] * u[k];
        du += dz[v] * b[v * rank + k];
      }
      for (let j = 0; j < width; j++) gradientA[k * width + j] += du * row.hidden[j];
    }
  }
  return { law, label: labelled, gradientA, gradientB };
}

function lawLoss(
  { ids, laws }: DistilRow,
  z: Float64Array,
  mapped: ArrayLike<number>,
  kind: DistilLoss,
  scale: number,
  dz: Float64Array,
): number {
  const q = softmax(z, (v) => mapped[v] !== 0);
  const classes = new Map(ids.map((id, i) => [id, { own: q[id], wanted: laws[i] }]));
  const others = { own: 1 - ids.reduce((sum, id) => sum + q[id], 0), wanted: 1 - laws.reduce((sum, p) => sum + p, 0) };
  const all = [...classes.values(), ...(others.own > 1e-6 ? [others] : [])];
  const slopeOf = ({ own, wanted }: typeof others): number => {
    const p = Math.max(wanted, LEAST);
    return kind === 'reverse-kl' ? Math.log(own / p) : kind === 'kl' ? -p / own : Math.sign(own - p) / 2;
  };
  const mean = all.reduce((sum, one) => sum + one.own * slopeOf(one), 0);
  q.forEach((own, v) => {
    if (own > 0) dz[v] += scale * own * (slopeOf(classes.get(v) ?? others) - mean);
  });
  return all.reduce((sum, { own, wanted }) => {
    const p = Math.max(wanted, LEAST);
    if (kind === 'reverse-kl') return sum + own * Math.log(own / p);
    return sum + (kind === 'kl' ? p * Math.log(p / own) : Math.abs(own - p) / 2);
  }, 0);
}

function softmax(z: Float64Array, within: (token: number) => boolean): Float64Array {
  let most = -Infinity;
  z.forEach((value, v) => within(v) && (most = Math.max(most, value)));
  const weights = z.map((value, v) => (within(v) ? Math.exp(value - most) : 0));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}
