// The two inner products of attention over rows of a page, for a few queries at a time. For files compiled per
// instruction-set level. Every (query, key) pair and every (query, value) lane has one accumulator that runs in a fixed
// order, so a result does not depend on how queries are tiled.
#pragma once
#include <cstddef>

#include "core/dtype.h"
#include "core/simd.h"
#include "ops/attention/attention.h"

namespace vivace::VIVACE_ISA {

// Values i … i + lanes − 1 of a stored row as F32; i is a multiple of the lanes.
struct F32Rows {
  static F32 load(const std::byte* row, int64_t i) { return VIVACE_ISA::load(reinterpret_cast<const float*>(row) + i); }
  static F32 load_some(const std::byte* row, int64_t i, int n) {
    return VIVACE_ISA::load_some(reinterpret_cast<const float*>(row) + i, n);
  }
};
struct F16Rows {
  static F32 load(const std::byte* row, int64_t i) { return load_f16(reinterpret_cast<const uint16_t*>(row) + i); }
  static F32 load_some(const std::byte* row, int64_t i, int n) {
    return load_f16_some(reinterpret_cast<const uint16_t*>(row) + i, n);
  }
};
struct Q8Rows {
  static F32 load(const std::byte* row, int64_t i) {
    const std::byte* block = row + i / 32 * 34;
    uint16_t scale;
    std::memcpy(&scale, block, 2);
    return set1_f16(scale) * load_i8(reinterpret_cast<const int8_t*>(block + 2 + i % 32));
  }
  static F32 load_some(const std::byte* row, int64_t i, int) { return load(row, i); }  // dims are whole blocks
};

#if defined(__AVX512F__) || defined(__aarch64__) || defined(_M_ARM64)
inline constexpr int tile_queries = 4;  // 32 vector registers
#else
inline constexpr int tile_queries = 2;  // 16 vector registers
#endif

// scores[n][k] = q[n] · keys[k]; q is padded with zeros to whole vectors, `q_stride` apart; scores are a chunk apart.
template <class Rows, int queries>
inline void score_tile(const float* q, int64_t q_stride, const std::byte* const* keys, int count, int64_t dim,
                       float* scores) {
  constexpr int lanes = F32::lanes;
  for (int k = 0; k < count; k += 4) {
    const int last = count - 1;
    const std::byte* rows[4] = {keys[k], keys[k + 1 < last ? k + 1 : last], keys[k + 2 < last ? k + 2 : last],
                                keys[k + 3 < last ? k + 3 : last]};
    F32 sums[queries][4];
    for (int n = 0; n < queries; ++n)
      for (int j = 0; j < 4; ++j) sums[n][j] = zero();
    const auto step = [&](int64_t i, auto&& load_key) {
      const F32 key[4] = {load_key(rows[0]), load_key(rows[1]), load_key(rows[2]), load_key(rows[3])};
      for (int n = 0; n < queries; ++n) {
        const F32 query = load(q + n * q_stride + i);
        for (int j = 0; j < 4; ++j) sums[n][j] = fma(query, key[j], sums[n][j]);
      }
    };
    int64_t i = 0;
    for (; i + lanes <= dim; i += lanes) step(i, [&](const std::byte* row) { return Rows::load(row, i); });
    if (i < dim) {
      const int rest = static_cast<int>(dim - i);
      step(i, [&](const std::byte* row) { return Rows::load_some(row, i, rest); });
    }
    for (int n = 0; n < queries; ++n) {
      float four[4];
      sum4(four, sums[n][0], sums[n][1], sums[n][2], sums[n][3]);
      const int valid = count - k < 4 ? count - k : 4;
      for (int j = 0; j < valid; ++j) scores[n * attention_chunk + k + j] = four[j];
    }
  }
}

// out[n] += Σ_k weights[n][k] · values[k] over vectors [from, from + vectors) of the value dimension.
template <class Rows, int queries, int vectors>
inline void value_tile(const float* weights, const std::byte* const* values, int count, int64_t from, int rest,
                       float* out, int64_t out_stride) {
  constexpr int lanes = F32::lanes;
  F32 sums[queries][vectors];
  for (int n = 0; n < queries; ++n)
    for (int j = 0; j < vectors; ++j) sums[n][j] = load(out + n * out_stride + from + j * lanes);
  for (int k = 0; k < count; ++k) {
    F32 value[vectors];
    if constexpr (vectors == 1)
      value[0] = Rows::load_some(values[k], from, rest);
    else
      for (int j = 0; j < vectors; ++j) value[j] = Rows::load(values[k], from + j * lanes);
    for (int n = 0; n < queries; ++n) {
      const F32 weight = set1(weights[n * attention_chunk + k]);
      for (int j = 0; j < vectors; ++j) sums[n][j] = fma(weight, value[j], sums[n][j]);
    }
  }
  for (int n = 0; n < queries; ++n)
    for (int j = 0; j < vectors; ++j) store(out + n * out_stride + from + j * lanes, sums[n][j]);
}

template <class Rows, int queries>
inline void value_tiles(const float* weights, const std::byte* const* values, int count, int64_t dim, float* out,
                        int64_t out_stride) {
  constexpr int lanes = F32::lanes, vectors = 4;
  int64_t from = 0;
  for (; from + vectors * lanes <= dim; from += vectors * lanes)
    value_tile<Rows, queries, vectors>(weights, values, count, from, lanes, out, out_stride);
  for (; from < dim; from += lanes) {
    const int rest = dim - from < lanes ? static_cast<int>(dim - from) : lanes;
    value_tile<Rows, queries, 1>(weights, values, count, from, rest, out, out_stride);
  }
}

template <int count>
struct QueryTile {
  static constexpr int queries = count;
};

// Calls body(n, tile) for tiles of queries that cover [0, count).
template <class Body>
inline void for_query_tiles(int count, Body&& body) {
  int n = 0;
  for (; n + tile_queries <= count; n += tile_queries) body(n, QueryTile<tile_queries>{});
  for (; n < count; ++n) body(n, QueryTile<1>{});
}

template <class Body>
inline void with_rows(DType dtype, Body&& body) {
  if (dtype == DType::F16)
    body(F16Rows{});
  else if (dtype == DType::F32)
    body(F32Rows{});
  else
    body(Q8Rows{});
}

}  // namespace vivace::VIVACE_ISA
