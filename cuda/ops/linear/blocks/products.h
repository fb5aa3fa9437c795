// Products of blocks of 32 columns, which the kernels for GGUF's quantised types share: whole numbers on tensor cores,
// then the scales of both sides in float. What one kernel adds, the other adds in the same order.
#pragma once
#include "cuda/ops/linear/blocks/codecs.h"
#include "ops/linear/a8.h"

namespace vivace::cuda {

// Of two rows of the weight (codes: of mma's operand) and an operand of eight rows of x, of which this lane has sums of
// two: `first` is scale and minus_sums of their blocks, `second` scaled_sums. `part`: which half of the columns is
// multiplied; 2: both.
template <class Codec>
__device__ inline void add_block(const uint32_t (&codes)[4], const uint32_t (&x)[2], int part,
                                 const ScaleAndMin (&scales)[2][2], const float4 (&first)[2], const float4 (&second)[2],
                                 float (&sums)[4]) {
  // Whole numbers below 2^22 as the last bits of 1.5 · 2^23: an addition turns them into floats, exactly.
  constexpr int base = 0x4b400000;
  int dots[4] = {base, base, base, base};
  multiply_s8(dots, codes, x);
  UNROLL
  for (int i = 0; i < 4; ++i) {
    const float4 &head = first[i % 2], &tail = second[i % 2];
    const ScaleAndMin& scale = scales[i / 2][part == 2 ? 0 : part];
    const float minus_sum = part == 0 ? head.y : part == 1 ? head.z : head.w;  // the bits of a whole number
    const int dot = Codec::offset == 0 ? dots[i] : dots[i] + Codec::offset * __float_as_int(minus_sum);
    sums[i] = fmaf(__int_as_float(dot) - 12582912.0f, scale.scale * head.x, sums[i]);
    if constexpr (Codec::has_min) sums[i] = fmaf(scale.min, part == 0 ? tail.x : part == 1 ? tail.y : tail.z, sums[i]);
  }
}

// The same of codes that are all there; where scales belong to 16 columns, what the other lanes have is left out.
template <class Codec>
__device__ inline void multiply_block(const uint32_t (&codes)[2][2], const uint32_t (&x)[2],
                                      const ScaleAndMin (&scales)[2][2], const float4 (&first)[2],
                                      const float4 (&second)[2], float (&sums)[4]) {
  if constexpr (Codec::halves) {
    // Lanes 0 and 1 of four have the first 16 columns.
    UNROLL
    for (int h = 0; h < 2; ++h) {
      const uint32_t keep = static_cast<int>(threadIdx.x % 4) / 2 == h ? 0xffffffffu : 0u;
      const uint32_t half[4] = {codes[0][0] & keep, codes[1][0] & keep, codes[0][1] & keep, codes[1][1] & keep};
      add_block<Codec>(half, x, h, scales, first, second, sums);
    }
  } else {
    const uint32_t all[4] = {codes[0][0], codes[1][0], codes[0][1], codes[1][1]};
    add_block<Codec>(all, x, 2, scales, first, second, sums);
  }
}

// Codes and scales of rows g and g + 8 of 16, group j of 32 columns.
template <class Codec>
struct BlockOperand {
  uint32_t codes[2][2];
  ScaleAndMin scales[2][2];  // of both rows; by half

  BlockOperand() = default;
  __device__ BlockOperand(const StagedRow& low, const StagedRow& high, int j) {
    const int t = static_cast<int>(threadIdx.x % 4);
    Codec::codes(low, j, t, codes[0]);
    Codec::codes(high, j, t, codes[1]);
    UNROLL
    for (int h = 0; h < (Codec::halves ? 2 : 1); ++h) {
      scales[0][h] = Codec::scales(low, j, h);
      scales[1][h] = Codec::scales(high, j, h);
    }
  }
};

static_assert(offsetof(A8Block, scale) == 0 && offsetof(A8Block, minus_sums) == 4);
static_assert(offsetof(A8Block, scaled_sums) == 16 && offsetof(A8Block, codes) == 32 && sizeof(A8Block) == 64);

}  // namespace vivace::cuda
