// Logits of a row that was read twice, in the plainest form: the oracle of cpp/decode/verify/reflection.cpp.

/**
 * (1 − alpha) · first + alpha · the mean of the second readings: softmax of it is the normalised product of the two laws'
 * powers. In the arrays' own precision. A reading of weight 0 is not looked at; one that bans a token (−∞) bans it.
 */
export function fuse<Row extends Float32Array | Float64Array>(first: Row, seconds: readonly Row[], alpha: number): Row {
  if (seconds.length === 0 || alpha === 0) return first;
  const out = first.slice() as Row;
  const round = out instanceof Float32Array ? Math.fround : (value: number): number => value;
  const [weight, rest] = [round(alpha), round(1 - alpha)];
  for (let i = 0; i < out.length; i++) {
    let second = 0;
    for (const row of seconds) second = round(second + row[i]);
    if (seconds.length > 1) second = round(second / seconds.length);
    out[i] = alpha < 1 ? round(rest * first[i]) + round(weight * second) : second;
  }
  return out;
}

/** Index of the greatest value, of equals the lowest. */
export function greatest(row: Float32Array | Float64Array): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i] > row[best]) best = i;
  return best;
}
