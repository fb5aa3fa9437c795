// Scores of keys that were quantised by channel, a page of 32 at a time: a block of channel c has (scale, minimum,
// codes of 32 cells), so that q · k = Σ q[c] · (minimum + 8 · scale) + Σ (q[c] · scale) · (code − 8). The first sum is
// one for all cells of the page, and in the second a lane is a cell: nothing is summed across lanes. For files compiled
// per instruction-set level.
#pragma once
#include "ops/attention/parts/attention_tiles.h"

namespace vivace::VIVACE_ISA::channel_keys {

inline constexpr int cells = 32, block_bytes = 20;

// `scales` and `middles` (minimum + 8 · scale) of `dim` channels, a multiple of 32.
inline void unpack(const std::byte* blocks, int64_t dim, float* scales, float* middles) {
  constexpr int lanes = F32::lanes;
  for (int64_t c = 0; c < dim; c += lanes, blocks += lanes * block_bytes) {
    uint16_t steps[lanes], minima[lanes];
    for (int k = 0; k < lanes; ++k) {
      std::memcpy(steps + k, blocks + k * block_bytes, 2);
      std::memcpy(minima + k, blocks + k * block_bytes + 2, 2);
    }
    const F32 scale = load_f16(steps);
    store(scales + c, scale);
    store(middles + c, fma(scale, set1(8.0f), load_f16(minima)));
  }
}

// scores[n][0 … 32) of `queries` queries, `stride` apart. Even and odd channels have sums of their own, in ascending
// order, whatever the number of queries. `weighted`: room for [queries][dim].
template <int queries>
VIVACE_FLATTEN inline void score(const float* q, int64_t q_stride, const float* scales, const float* middles,
                                 const std::byte* blocks, int64_t dim, float* weighted, float* scores, int64_t stride) {
  constexpr int lanes = F32::lanes, wide = 2;  // vectors of cells at a time
  F32 base[queries];
  unroll<queries>([&](int n) {
    F32 first = zero();
    for (int64_t c = 0; c < dim; c += lanes) {
      const F32 query = load(q + n * q_stride + c);
      store(weighted + n * dim + c, query * load(scales + c));
      first = fma(query, load(middles + c), first);
    }
    base[n] = set1(sum(first));
  });
  unroll<cells / (wide * lanes)>([&](int strip) {
    F32 sums[queries * wide * 2];
    unroll<queries * wide * 2>([&](int i) { sums[i] = zero(); });
    const std::byte* block = blocks + 4;
    for (int64_t c = 0; c < dim; c += 2, block += 2 * block_bytes)
      unroll<2>([&](int odd) {
        F32 code[wide];
        unroll<wide>([&](int v) {
          const int cell = (strip * wide + v) * lanes;
          const std::byte* at = block + odd * block_bytes + cell % 16;
          code[v] = cell < 16 ? load_low_codes(at) : load_high_codes(at);
        });
        unroll<queries>([&](int n) {
          const F32 weight = set1(weighted[n * dim + c + odd]);
          unroll<wide>([&](int v) {
            F32& sum = sums[(n * wide + v) * 2 + odd];
            sum = fma(weight, code[v], sum);
          });
        });
      });
    unroll<queries * wide>([&](int i) {
      store(scores + i / wide * stride + (strip * wide + i % wide) * lanes,
            base[i / wide] + (sums[2 * i] + sums[2 * i + 1]));
    });
  });
}

}  // namespace vivace::VIVACE_ISA::channel_keys
