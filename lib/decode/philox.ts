// Philox4x32-10 (Salmon et al. 2011): random numbers by counter, so that a draw depends on its seed and index alone and not
// on what else is in the batch. The same numbers as cpp/decode/philox.h.

// Hoisted: look-ups of globals are slow inside test runners.
const { floor, imul } = Math;

const low32 = 0xffff_ffffn;

/** Four words of 32 bits for a 64-bit key and a 128-bit counter (`index` low, `lane` high). */
export function philox(seed: bigint, index: bigint, lane = 0n): [number, number, number, number] {
  let c0 = Number(index & low32);
  let c1 = Number((index >> 32n) & low32);
  let c2 = Number(lane & low32);
  let c3 = Number((lane >> 32n) & low32);
  let k0 = Number(seed & low32);
  let k1 = Number((seed >> 32n) & low32);
  for (let round = 0; round < 10; round++) {
    const [high0, product0] = multiply(0xd2511f53, c0);
    const [high1, product1] = multiply(0xcd9e8d57, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = product1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = product0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** Uniform in [0, 1), 53 bits. `lane` separates the draws that one step may need (a verifier's and a drafter's). */
export function philoxUniform(seed: bigint, index: bigint, lane = 0n): number {
  const [word0, word1] = philox(seed, index, lane);
  return (word1 * 2 ** 21 + (word0 >>> 11)) * 2 ** -53;
}

/** The high and low words of a 64-bit product. */
function multiply(a: number, b: number): [number, number] {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const carry = aLow * bHigh + (middle % 0x10000);
  const high = aHigh * bHigh + floor(middle / 0x10000) + floor(carry / 0x10000);
  return [high >>> 0, imul(a, b) >>> 0];
}
