// The two inner products of attention over rows of a page, for a few queries at a time. For files compiled per
// instruction-set level. Every (query, key) pair and every (query, value) lane has one accumulator that runs in a fixed
// order, so a result does not depend on how queries and keys are tiled.
#pragma once
#include <cstddef>

#include "core/dtype.h"
#include "core/simd.h"
#include "ops/attention/attention.h"

namespace vivace::VIVACE_ISA {

// Values i … i + lanes − 1 of a stored row as F32; i is a multiple of the lanes. More than `most_tiles` tiles of
// queries are served faster from a copy of the rows as F32.
struct F32Rows {
  static constexpr int most_tiles = INT32_MAX / 8;
  static F32 load(const std::byte* row, int64_t i) { return VIVACE_ISA::load(reinterpret_cast<const float*>(row) + i); }
  static F32 load_some(const std::byte* row, int64_t i, int n) {
    return VIVACE_ISA::load_some(reinterpret_cast<const float*>(row) + i, n);
  }
};
struct F16Rows {
  static constexpr int most_tiles = F32::lanes > 4 ? 2 : 1;  // 10 to 20 % at 7 and 8 queries
  static F32 load(const std::byte* row, int64_t i) { return load_f16(reinterpret_cast<const uint16_t*>(row) + i); }
  static F32 load_some(const std::byte* row, int64_t i, int n) {
    return load_f16_some(reinterpret_cast<const uint16_t*>(row) + i, n);
  }
};
struct Q8Rows {
  static constexpr int most_tiles = 1;
  static F32 load(const std::byte* row, int64_t i) {
    const std::byte* block = row + i / 32 * 34;
    uint16_t scale;
    std::memcpy(&scale, block, 2);
    return set1_f16(scale) * load_i8(reinterpret_cast<const int8_t*>(block + 2 + i % 32));
  }
  static F32 load_some(const std::byte* row, int64_t i, int) { return load(row, i); }  // dims are whole blocks
};

// A tile multiplies `tile_queries` queries with 4 keys or 4 vectors of values; a single query takes more keys instead,
// since a multiply-add takes 4 cycles and two start in each.
#if defined(__AVX512F__) || defined(__aarch64__) || defined(_M_ARM64)
inline constexpr int tile_queries = 4;  // 32 vector registers
#else
inline constexpr int tile_queries = 2;  // 16 vector registers
#endif

// Rows of `bytes` bytes that will be read after these: the first `count` are fetched in passing. Not by a function of
// its own: GCC takes one that only fetches for one that does nothing.
struct Ahead {
  const std::byte* const* rows;
  int count;
  int64_t bytes;
};

// Calls body(0) … body(count − 1) with constants, so that arrays indexed by them become registers: a compiler's own
// unrolling comes too late for that.
template <int count, class Body>
inline void unroll(Body&& body) {
  if constexpr (count > 0) {
    unroll<count - 1>(body);
    body(count - 1);
  }
}

// scores[n][k] = q[n] · keys[k]; q is padded with zeros to whole vectors, `q_stride` apart.
template <class Rows, int queries, int width>
inline void score_tile(const float* q, int64_t q_stride, const std::byte* const* rows, int64_t dim, float* scores,
                       int64_t stride) {
  constexpr int lanes = F32::lanes;
  F32 sums[queries * width];
  unroll<queries * width>([&](int i) { sums[i] = zero(); });
  const auto step = [&](int64_t i, auto&& load_key) {
    F32 key[width];
    unroll<width>([&](int j) { key[j] = load_key(rows[j]); });
    unroll<queries>([&](int n) {
      const F32 query = load(q + n * q_stride + i);
      unroll<width>([&](int j) { sums[n * width + j] = fma(query, key[j], sums[n * width + j]); });
    });
  };
  int64_t i = 0;
  for (; i + lanes <= dim; i += lanes) step(i, [&](const std::byte* row) { return Rows::load(row, i); });
  if (i < dim) {
    const int rest = static_cast<int>(dim - i);
    step(i, [&](const std::byte* row) { return Rows::load_some(row, i, rest); });
  }
  // One call sums as many vectors as there are lanes.
  unroll<queries * width / lanes>([&](int turn) {
    const int first = turn * lanes;
    float* out = scores + first / width * stride + first % width;
    if constexpr (width > 4 && width < lanes) {
      float together[lanes];
      sum_lanes(together, 4, sums + first);
      for (int n = 0; n < lanes / width; ++n)
        std::memcpy(out + n * stride, together + n * width, sizeof(float) * width);
    } else {
      sum_lanes(out, width > 4 ? 4 : stride, sums + first);
    }
  });
}

template <class Rows, int queries>
inline void score_tiles(const float* q, int64_t q_stride, const std::byte* const* keys, int count, int64_t dim,
                        float* scores, const Ahead& ahead) {
  constexpr int full = F32::lanes / queries, least = queries > 1 ? 4 : 8, width = full > least ? full : least;
  int k = 0;
  for (; k + width <= count; k += width) {
    for (int j = k; j < k + width && j < ahead.count; ++j)
      for (int64_t i = 0; i < ahead.bytes; i += 64) prefetch(ahead.rows[j] + i);
    score_tile<Rows, queries, width>(q, q_stride, keys + k, dim, scores + k, attention_chunk);
  }
  for (int j = k; j < ahead.count; ++j)
    for (int64_t i = 0; i < ahead.bytes; i += 64) prefetch(ahead.rows[j] + i);
  if (k == count) return;
  // The last row again stands for those beyond it.
  const std::byte* rows[width];
  float last[queries * width];
  for (int j = 0; j < width; ++j) rows[j] = keys[k + j < count ? k + j : count - 1];
  score_tile<Rows, queries, width>(q, q_stride, rows, dim, last, width);
  for (int n = 0; n < queries; ++n)
    for (int j = 0; k + j < count; ++j) scores[n * attention_chunk + k + j] = last[n * width + j];
}

// out[n] += Σ_k weights[n][k] · values[k] over vectors [from, from + vectors) of the value dimension.
template <class Rows, int queries, int vectors>
inline void value_tile(const float* weights, const std::byte* const* values, int count, int64_t from, int rest,
                       float* out, int64_t out_stride, const Ahead& ahead) {
  constexpr int lanes = F32::lanes;
  F32 sums[queries * vectors];
  unroll<queries * vectors>(
      [&](int i) { sums[i] = load(out + i / vectors * out_stride + from + i % vectors * lanes); });
  for (int k = 0; k < count; ++k) {
    if (k < ahead.count)
      for (int64_t i = 0; i < ahead.bytes; i += 64) prefetch(ahead.rows[k] + i);
    F32 value[vectors];
    if constexpr (vectors == 1)
      value[0] = Rows::load_some(values[k], from, rest);
    else
      unroll<vectors>([&](int j) { value[j] = Rows::load(values[k], from + j * lanes); });
    unroll<queries>([&](int n) {
      const F32 weight = set1(weights[n * attention_chunk + k]);
      unroll<vectors>([&](int j) { sums[n * vectors + j] = fma(weight, value[j], sums[n * vectors + j]); });
    });
  }
  unroll<queries * vectors>(
      [&](int i) { store(out + i / vectors * out_stride + from + i % vectors * lanes, sums[i]); });
}

template <class Rows, int queries>
inline void value_tiles(const float* weights, const std::byte* const* values, int count, int64_t dim, float* out,
                        int64_t out_stride, const Ahead& ahead) {
  constexpr int lanes = F32::lanes;
  int64_t from = 0;
  const auto next = [&] { return from == 0 ? ahead : Ahead{nullptr, 0, 0}; };
  if constexpr (queries == 1)
    for (; from + 8 * lanes <= dim; from += 8 * lanes)
      value_tile<Rows, queries, 8>(weights, values, count, from, lanes, out, out_stride, next());
  for (; from + 4 * lanes <= dim; from += 4 * lanes)
    value_tile<Rows, queries, 4>(weights, values, count, from, lanes, out, out_stride, next());
  for (; from < dim; from += lanes) {
    const int rest = dim - from < lanes ? static_cast<int>(dim - from) : lanes;
    value_tile<Rows, queries, 1>(weights, values, count, from, rest, out, out_stride, next());
  }
}

// Rows as F32, `stride` floats apart and padded with zeros to whole vectors; rows[k] becomes the place of the copy.
template <class Rows>
inline void widen_rows(const std::byte** rows, int count, int64_t dim, float* out, int64_t stride) {
  for (int k = 0; k < count; ++k, out += stride) {
    for_lanes(dim, [&](int64_t i, int n) {
      store(out + i, n == F32::lanes ? Rows::load(rows[k], i) : Rows::load_some(rows[k], i, n));
    });
    rows[k] = reinterpret_cast<const std::byte*>(out);
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
  if constexpr (tile_queries > 2)
    for (; n + 2 <= count; n += 2) body(n, QueryTile<2>{});
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
