// kv_write: stores k[r] and v[r] of every row in the row's cell of the KV cache, in the cache's types.
//   k: F32 [rows, kv_heads · key_dim]; v: F32 [rows, kv_heads · value_dim]; cells must be reserved. Attribute: layer.
//   A cache with more heads, a multiple of these, has each of them as often, side by side.
//   F16 rounds to nearest even. Q8_0: per 32 values d = max|x| / 127 kept as F16, codes = x / d rounded half away from
//   zero (the F32 d divides, as in ggml). Q4_0: d = −x / 8 of the largest x without its sign, the first of equals,
//   codes = ⌊x / d + 8.5⌋, at most 15; value i and i + 16 share a byte.
//   KIVI4 keys (Liu et al. 2024): F16, and when a page of 32 cells is full, of each channel over these d = (max − min)
//   / 15 and min as F16, codes = ⌊(x − min) / d + 0.5⌋, at most 15, or 0 where d = 0; cells i and i + 16 share a byte.
//   A NaN or an infinity among the 32 makes all of them NaN: nothing is hidden.
//   bytes: 4 read and the cache's type written per value; operations: about 6 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo kv_write_op;
VIVACE_DECLARE_KERNEL(kv_write)
}  // namespace vivace
