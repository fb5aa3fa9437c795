// The two inner products of attention over rows of a page, for a few queries at a time. For files compiled per
// instruction-set level. Every (query, key) pair and every (query, value) lane has one accumulator that runs in a fixed
// order, so a result does not depend on how queries and keys are tiled.
#pragma once
#include <cstddef>

#include "core/dtype.h"
#include "core/simd/wide_dot.h"
#include "ops/attention/attention.h"

namespace vivace::VIVACE_ISA {

// Values i … i + lanes − 1 of a stored row as F32; i is a multiple of the lanes. More than `most_tiles` tiles of
// queries are served faster from a copy of the rows, which is read as `Copied`. Where `block` is not 0, values are
// without the scale that each block of so many has: it is brought in by the weights. Rows are walked through `unit`
// values at a time, or a vector if that is more, so that a place within a unit is a constant.
struct F32Rows {
  using Copied = F32Rows;
  static constexpr int most_tiles = INT32_MAX / 8, block = 0, unit = 1;
  static F32 load(const std::byte* row, int64_t i) { return VIVACE_ISA::load(reinterpret_cast<const float*>(row) + i); }
  static F32 load_some(const std::byte* row, int64_t i, int n) {
    return VIVACE_ISA::load_some(reinterpret_cast<const float*>(row) + i, n);
  }
};
struct F16Rows {
  using Copied = F32Rows;
  static constexpr int most_tiles = F32::lanes > 4 ? 2 : 1, block = 0, unit = 1;  // 10 to 20 % at 7 and 8 queries
  static F32 load(const std::byte* row, int64_t i) { return load_f16(reinterpret_cast<const uint16_t*>(row) + i); }
  static F32 load_some(const std::byte* row, int64_t i, int n) {
    return load_f16_some(reinterpret_cast<const uint16_t*>(row) + i, n);
  }
};
struct Q8Rows {
  using Copied = F32Rows;
  static constexpr int most_tiles = 1, block = 0, unit = 1;
  static F32 load(const std::byte* row, int64_t i) {
    const std::byte* block = row + i / 32 * 34;
    uint16_t scale;
    std::memcpy(&scale, block, 2);
    return set1_f16(scale) * load_i8(reinterpret_cast<const int8_t*>(block + 2 + i % 32));
  }
  static F32 load_some(const std::byte* row, int64_t i, int) { return load(row, i); }  // dims are whole blocks
};
// Values whose scales are left to the weights.
struct Q8Codes {
  struct Copied : F32Rows {
    static constexpr int block = 32;
  };
  static constexpr int most_tiles = 1, block = 32, unit = 1, block_bytes = 34;
  static F32 load(const std::byte* row, int64_t i) {
    return load_i8(reinterpret_cast<const int8_t*>(row + i / 32 * 34 + 2 + i % 32));
  }
  static F32 load_some(const std::byte* row, int64_t i, int) { return load(row, i); }  // dims are whole blocks
};
// A scale, then 16 bytes: values i and i + 16 of a block are the halves of byte i.
struct Q4Codes {
  struct Copied : F32Rows {
    static constexpr int block = 32;
  };
  static constexpr int most_tiles = 1, block = 32, unit = 32, block_bytes = 18;
  static F32 load(const std::byte* row, int64_t i) {
    const std::byte* at = row + (i >> 5) * 18 + 2 + (i & 15);
    return (i & 16) == 0 ? load_low_codes(at) : load_high_codes(at);
  }
  static F32 load_some(const std::byte* row, int64_t i, int) { return load(row, i); }
};
struct Q4Rows {
  using Copied = F32Rows;
  static constexpr int most_tiles = 1, block = 0, unit = 32;
  static F32 load(const std::byte* row, int64_t i) {
    uint16_t scale;
    std::memcpy(&scale, row + (i >> 5) * 18, 2);
    return set1_f16(scale) * Q4Codes::load(row, i);
  }
  static F32 load_some(const std::byte* row, int64_t i, int) { return load(row, i); }
};

// A tile multiplies `tile_queries` queries with 4 keys or 4 vectors of values; a single query takes more keys instead,
// since a multiply-add takes 4 cycles and two start in each.
#if defined(__AVX512F__) || defined(__aarch64__) || defined(_M_ARM64)
inline constexpr int tile_queries = 4;  // 32 vector registers
#else
inline constexpr int tile_queries = 2;  // 16 vector registers
#endif

// Memory that will be read next, fetched in passing, some lines at a time.
class Ahead {
 public:
  void add(const std::byte* from, int64_t bytes) {
    if (count_ > 0 && pieces_[count_ - 1].end == from)
      pieces_[count_ - 1].end += bytes;
    else
      pieces_[count_++] = {from, from + bytes};
  }
  void fetch(int64_t lines) {
    while (lines > 0 && first_ < count_) {
      Piece& piece = pieces_[first_];
      const std::byte* stop = piece.at + 64 * lines;
      if (stop >= piece.end) {
        stop = piece.end;
        ++first_;
      }
      lines -= (stop - piece.at + 63) / 64;
      for (const std::byte* at = piece.at; at < stop; at += 64) prefetch(at);
      piece.at = stop;
    }
  }

 private:
  struct Piece {
    const std::byte *at, *end;
  };
  Piece pieces_[attention_chunk];
  int first_ = 0, count_ = 0;
};

template <int size>
struct Tile {
  static constexpr int count = size;
};

// Calls body(0) … body(count − 1) with constants, so that arrays indexed by them become registers: a compiler's own
// unrolling comes too late for that.
template <int count, class Body>
VIVACE_ALWAYS_INLINE void unroll(Body&& body) {
  if constexpr (count > 0) {
    unroll<count - 1>(body);
    body(count - 1);
  }
}

// Calls step(i, count) along a row as for_lanes does.
template <class Rows, class Step>
VIVACE_ALWAYS_INLINE void for_row(int64_t dim, Step&& step) {
  constexpr int lanes = F32::lanes;
  if constexpr (Rows::unit > lanes) {
    for (int64_t i = 0; i < dim; i += Rows::unit)  // dims are whole units
      unroll<Rows::unit / lanes>([&](int j) { step(i + j * lanes, lanes); });
  } else {
    for_lanes(dim, step);
  }
}

// scores[n][k] = q[n] · keys[k]; q is padded with zeros to whole vectors, `q_stride` apart.
template <class Rows, int queries, int width>
VIVACE_FLATTEN inline void score_tile(const float* q, int64_t q_stride, const std::byte* const* rows, int64_t dim,
                                      float* scores, int64_t stride) {
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
  for_row<Rows>(dim, [&](int64_t i, int count) {
    if (count == lanes)
      step(i, [&](const std::byte* row) { return Rows::load(row, i); });
    else
      step(i, [&](const std::byte* row) { return Rows::load_some(row, i, count); });
  });
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

// `lines` lines are fetched per key.
template <class Rows, int queries>
inline void score_tiles(const float* q, int64_t q_stride, const std::byte* const* keys, int count, int64_t dim,
                        float* scores, Ahead& ahead, int64_t lines) {
  constexpr int full = F32::lanes / queries, least = queries > 1 ? 4 : 8, width = full > least ? full : least;
  int k = 0;
  for (; k + width <= count; k += width) {
    ahead.fetch(lines * width);
    score_tile<Rows, queries, width>(q, q_stride, keys + k, dim, scores + k, attention_chunk);
  }
  if (k == count) return;
  ahead.fetch(lines * width);
  // The last row again stands for those beyond it.
  const std::byte* rows[width];
  float last[queries * width];
  for (int j = 0; j < width; ++j) rows[j] = keys[k + j < count ? k + j : count - 1];
  score_tile<Rows, queries, width>(q, q_stride, rows, dim, last, width);
  for (int n = 0; n < queries; ++n)
    for (int j = 0; k + j < count; ++j) scores[n * attention_chunk + k + j] = last[n * width + j];
}

// Weights of values: [query][attention_chunk], or [block][tile_queries][attention_chunk] where values are without their
// scales.
// out[n] += Σ_k weights[n][k] · values[k] over vectors [from, from + vectors) of the value dimension.
template <class Rows, int queries, int vectors>
VIVACE_FLATTEN inline void value_tile(const float* weights, const std::byte* const* values, int count, int64_t from,
                                      int rest, float* out, int64_t out_stride, Ahead& ahead, int64_t lines) {
  constexpr int lanes = F32::lanes, per_block = Rows::block == 0 ? vectors : Rows::block / lanes;
  constexpr int block_stride = tile_queries * attention_chunk;
  if constexpr (Rows::block != 0) weights += from / Rows::block * block_stride;
  if constexpr (vectors * lanes % Rows::unit == 0) from -= from % Rows::unit;  // it is a multiple: now that is known
  F32 sums[queries * vectors];
  unroll<queries * vectors>(
      [&](int i) { sums[i] = load(out + i / vectors * out_stride + from + i % vectors * lanes); });
  for (int k = 0; k < count; ++k) {
    if (k % 4 == 0) ahead.fetch(lines);
    F32 value[vectors];
    if constexpr (vectors == 1)
      value[0] = Rows::load_some(values[k], from, rest);
    else
      unroll<vectors>([&](int j) { value[j] = Rows::load(values[k], from + j * lanes); });
    unroll<queries>([&](int n) {
      F32 weight;
      unroll<vectors>([&](int j) {
        if (j % per_block == 0) weight = set1(weights[n * attention_chunk + j / per_block * block_stride + k]);
        sums[n * vectors + j] = fma(weight, value[j], sums[n * vectors + j]);
      });
    });
  }
  unroll<queries * vectors>(
      [&](int i) { store(out + i / vectors * out_stride + from + i % vectors * lanes, sums[i]); });
}

template <class Rows, int queries>
inline void value_tiles(const float* weights, const std::byte* const* values, int count, int64_t dim, float* out,
                        int64_t out_stride, Ahead& ahead, int64_t row_bytes) {
  constexpr int lanes = F32::lanes;
  int64_t from = 0;
  // For four values of a tile.
  const int64_t tiles = dim / (queries == 1 ? 8 * lanes : 4 * lanes);
  const int64_t lines = (row_bytes * 4 / (tiles < 1 ? 1 : tiles) + 63) / 64;
  const auto tile = [&]<int vectors>(Tile<vectors>, int rest) {
    value_tile<Rows, queries, vectors>(weights, values, count, from, rest, out, out_stride, ahead, lines);
    from += vectors * lanes;
  };
  if constexpr (queries == 1)
    while (from + 8 * lanes <= dim) tile(Tile<8>{}, lanes);
  while (from + 4 * lanes <= dim) tile(Tile<4>{}, lanes);
  while (from < dim) tile(Tile<1>{}, dim - from < lanes ? static_cast<int>(dim - from) : lanes);
}

// Rows as F32, `stride` floats apart and padded with zeros to whole vectors; rows[k] becomes the place of the copy.
template <class Rows>
inline void widen_rows(const std::byte** rows, int count, int64_t dim, float* out, int64_t stride) {
  for (int k = 0; k < count; ++k, out += stride) {
    for_row<Rows>(dim, [&](int64_t i, int n) {
      store(out + i, n == F32::lanes ? Rows::load(rows[k], i) : Rows::load_some(rows[k], i, n));
    });
    rows[k] = reinterpret_cast<const std::byte*>(out);
  }
}

#if defined(VIVACE_TRANSPOSE)

// Keys of a chunk side by side, [dims][attention_chunk]: a lane each, so that nothing is summed across lanes. What a
// vector along the dims has in its lanes are vectors of keys here, added in the order of sum(): scores keep their bits.
namespace keys_in_lanes {

inline constexpr int groups = 2, cells = groups * F32::lanes;

// Keys of slots [16 · group, 16 · group + 16) of the chunk; rows[lane] is where each of them lies.
template <class Rows>
VIVACE_FLATTEN inline void lay(const std::byte* const* rows, int64_t dim, int group, float* panel) {
  float* out = panel + group * F32::lanes;
  for (int64_t i = 0; i < dim; i += F32::lanes) {
    F32 block[F32::lanes];
    const int count = dim - i < F32::lanes ? static_cast<int>(dim - i) : F32::lanes;
    if (count == F32::lanes)
      unroll<F32::lanes>([&](int k) { block[k] = Rows::load(rows[k], i); });
    else
      for (int k = 0; k < F32::lanes; ++k) block[k] = Rows::load_some(rows[k], i, count);
    transpose(block);
    unroll<F32::lanes>([&](int k) { store(out + (i + k) * attention_chunk, block[k]); });
  }
}

// scores[n][0 … cells) of `queries` queries with the cells at `panel`; `key_pad` dims, zeros beyond a key's own.
template <int queries>
VIVACE_FLATTEN inline void score(const float* q, int64_t q_stride, const float* panel, int64_t key_pad, float* scores) {
  constexpr int lanes = F32::lanes, tile = queries * groups;
  struct Sums {
    F32 of[tile];
  };
  // What lane l has in a vector along the dims.
  const auto lane = [&](int l) {
    Sums sums;
    unroll<tile>([&](int i) { sums.of[i] = zero(); });
    const float *keys = panel + l * attention_chunk, *query = q + l;
    for (int64_t i = 0; i < key_pad; i += lanes, keys += lanes * attention_chunk, query += lanes) {
      F32 key[groups];
      unroll<groups>([&](int g) { key[g] = load(keys + g * lanes); });
      unroll<queries>([&](int n) {
        const F32 value = set1(query[n * q_stride]);
        unroll<groups>([&](int g) { sums.of[n * groups + g] = fma(value, key[g], sums.of[n * groups + g]); });
      });
    }
    return sums;
  };
  const auto add = [](const Sums& a, const Sums& b) {
    Sums sums;
    unroll<tile>([&](int i) { sums.of[i] = a.of[i] + b.of[i]; });
    return sums;
  };
  const auto quarter = [&](int l) { return add(add(lane(l), lane(l + 8)), add(lane(l + 4), lane(l + 12))); };
  const Sums first = add(quarter(0), quarter(1)), all = add(first, add(quarter(2), quarter(3)));
  unroll<tile>([&](int i) { store(scores + i / groups * attention_chunk + i % groups * lanes, all.of[i]); });
}

}  // namespace keys_in_lanes

#endif

// Calls body(n, tile) for tiles of queries that cover [0, count).
template <class Body>
inline void for_query_tiles(int count, Body&& body) {
  int n = 0;
  for (; n + tile_queries <= count; n += tile_queries) body(n, Tile<tile_queries>{});
  if constexpr (tile_queries > 2)
    for (; n + 2 <= count; n += 2) body(n, Tile<2>{});
  for (; n < count; ++n) body(n, Tile<1>{});
}

template <class Body>
inline void with_keys(DType dtype, Body&& body) {
  if (dtype == DType::F16)
    body(F16Rows{});
  else if (dtype == DType::F32)
    body(F32Rows{});
  else if (dtype == DType::Q4_0)
    body(Q4Rows{});
  else
    body(Q8Rows{});
}
template <class Body>
inline void with_values(DType dtype, Body&& body) {
  if (dtype == DType::F16)
    body(F16Rows{});
  else if (dtype == DType::F32)
    body(F32Rows{});
  else if constexpr (tile_queries > 2)
    dtype == DType::Q4_0 ? body(Q4Codes{}) : body(Q8Codes{});
  else  // two queries to a tile: a scale per vector is cheaper than a weight per block
    dtype == DType::Q4_0 ? body(Q4Rows{}) : body(Q8Rows{});
}

// Scores against Q8_0 and Q4_0 keys by whole numbers: keys lie side by side, a lane each, so that nothing is widened
// and nothing is summed across lanes. A query is rounded to 23 bits of its largest value, as a float would be. Sums
// over a block are exact, and blocks are added in ascending order: a score has the same bits in every tile.
#if defined(VIVACE_WIDE_DOT)

// A query as WideDot takes it, kept where its floats would be: of each block of 32 words, WideDot::words; the last one
// of the first block is the scale.
struct QueryCodes {
  static constexpr int scale_at = 31;

  // `x`: `dim` floats, a whole number of blocks, for keys of the type.
  static void make(const float* x, int64_t dim, DType keys, float* out) {
    uint32_t top = 0;
    for (int64_t i = 0; i < dim; ++i) {
      const uint32_t size = bits_from_f32(x[i]) & 0x7fffffff;
      top = size > top ? size : top;
    }
    const float largest = f32_from_bits(top);
    float scale = largest / widest_activation, inverse = widest_activation / largest;
    if (top < 0x0d800000) scale = inverse = 0.0f;                              // below 2^-100
    if (top >= 0x7f800000) scale = f32_from_bits(0x7fc00000), inverse = 0.0f;  // scores are not numbers either
    for (int64_t block = 0; block < dim; block += 32) {
      int32_t whole[32];
      for (int i = 0; i < 32; ++i) {
        // Adding 1.5 · 2^23 leaves the nearest whole number in the low bits.
        const float value = inverse == 0.0f ? 0.0f : x[block + i] * inverse;
        whole[i] = static_cast<int32_t>(bits_from_f32(value + 12582912.0f)) - 0x4b400000;
      }
      WideDot::pack(whole, reinterpret_cast<int32_t*>(out + block), keys == DType::Q4_0 ? 8 : signed_bias);
    }
    out[scale_at] = scale;
  }
};

// Keys of `groups` · F32::lanes slots: codes [block][8 words][group], scales [block][group · lanes].
class KeyCodes {
 public:
  static constexpr int groups = 2, cells = groups * F32::lanes;

  KeyCodes(float* memory, int64_t key_pad) {
    codes_ = reinterpret_cast<Ints*>(memory);
    scales_ = memory + key_pad / 4 * cells;
    copies_ = reinterpret_cast<std::byte*>(scales_ + key_pad / 32 * cells);
  }
  // [lanes][row bytes], for rows that do not lie evenly.
  std::byte* copies() const { return copies_; }

  // F32::lanes rows of blocks of so many bytes, 34 (Q8_0) or 18 (Q4_0), become group `group`. Sizes of heads that most
  // models have are constants, so that no addresses need be computed.
  template <int block_bytes>
  void lay(Rows rows, int64_t dim, int group, Ahead& ahead) const {
    if (dim == 64)
      lay_blocks<block_bytes>(Evenly<2 * block_bytes>{rows.data}, 2, group, ahead);
    else if (dim == 128)
      lay_blocks<block_bytes>(Evenly<4 * block_bytes>{rows.data}, 4, group, ahead);
    else
      lay_blocks<block_bytes>(rows, dim / 32, group, ahead);
  }

  // scores[n][0 … cells) of `queries` queries, `q_stride` apart.
  template <int queries>
  VIVACE_FLATTEN void score(const float* q, int64_t q_stride, int64_t dim, float* scores) const {
    constexpr int lanes = F32::lanes, tile = queries * groups;
    F32 totals[tile];
    unroll<tile>([&](int i) { totals[i] = zero(); });
    const Ints* codes = codes_;
    const float* scales = scales_;
    for (int64_t block = 0; block < dim; block += 32, codes += 8 * groups, scales += cells) {
      const int32_t* packed = reinterpret_cast<const int32_t*>(q + block);
      WideDot sums[tile];
      unroll<tile>([&](int i) { sums[i].start(packed + i / groups * q_stride); });
      unroll<8>([&](int word) {
        unroll<tile>(
            [&](int i) { sums[i].step(codes[word * groups + i % groups], packed + i / groups * q_stride, word); });
      });
      unroll<tile>([&](int i) { totals[i] = fma(sums[i].finish(), load(scales + i % groups * lanes), totals[i]); });
    }
    unroll<tile>([&](int i) {
      const F32 scale = set1(q[i / groups * q_stride + QueryCodes::scale_at]);
      store(scores + i / groups * attention_chunk + i % groups * lanes, totals[i] * scale);
    });
  }

 private:
  template <int bytes>
  struct Evenly {
    const std::byte* data;
    const std::byte* operator[](int row) const { return data + row * bytes; }
  };

  template <int block_bytes, class AnyRows>
  VIVACE_FLATTEN void lay_blocks(AnyRows rows, int64_t blocks, int group, Ahead& ahead) const {
    constexpr int lanes = F32::lanes;
    Ints* out = codes_ + group;
    for (int64_t block = 0; block < blocks; ++block, rows.data += block_bytes) {
      ahead.fetch((block_bytes * lanes + 63) / 64);
      uint16_t halves[lanes];
      for (int i = 0; i < lanes; ++i) std::memcpy(halves + i, rows[i], 2);
      if constexpr (block_bytes == 18) {
        const Ints low = splat(0x0f0f0f0f);
        Ints words[4];
        side_by_side(rows, 2, words);
        unroll<4>([&](int w) { out[w * groups] = words[w] & low; });
        unroll<4>([&](int w) { out[(4 + w) * groups] = (words[w] >> 4) & low; });
        out += 8 * groups;
      } else {
        unroll<2>([&](int half) {
          Ints words[4];
          side_by_side(rows, 2 + half * 16, words);
          unroll<4>([&](int w) { out[w * groups] = WideDot::spread(words[w]); });
          out += 4 * groups;
        });
      }
      store(scales_ + block * cells + group * lanes, load_f16(halves));
    }
  }

  Ints* codes_;
  float* scales_;
  std::byte* copies_;
};

#endif

}  // namespace vivace::VIVACE_ISA
