// A8: the activations of quantised `linear`s, one block of 64 bytes, a cache line, per 32 values of a row.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace vivace {

// What a group of codes takes from a row of activations, ready to be broadcast: kernels do so for every 16 weight rows.
struct A8Block {
  static constexpr int all = 2;  // index of a sum over all 32 codes; 0 and 1: over 16
  float scale;                   // max|x| / 127: value i is scale · codes[i], rounded to nearest even
  int32_t minus_sums[3];         // -Σ codes, for formats with an offset
  float scaled_sums[3];          // scale · Σ codes, for formats with a minimum
  int32_t unused;
  int8_t codes[32];
};
static_assert(sizeof(A8Block) == find_dtype(DType::A8)->bytes && find_dtype(DType::A8)->block == 32);

}  // namespace vivace
