// A8: the activations of quantised `linear`s, one block of 40 bytes per 32 values of a row.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace vivace {

struct A8Block {
  float scale;      // max|x| / 127: value i is scale · codes[i], rounded to nearest even
  int16_t sums[2];  // of codes[0..15] and codes[16..31], for formats with an offset or a minimum
  int8_t codes[32];
};
static_assert(sizeof(A8Block) == find_dtype(DType::A8)->bytes && find_dtype(DType::A8)->block == 32);

}  // namespace vivace
