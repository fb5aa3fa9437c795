// How keys and values of each type, as they lie in shared memory, become operands of mma.sync, and what queries and
// weights become so that a product is exact but for the sum.
//
// Keys and values are A, 16 keys × 16 dims or 16 dims × 16 keys; query vectors are the eight columns of B. A product of
// 16-bit numbers is exact in float, so precision is a matter of parts: with F16 pages a query (scaled by a power of
// two) and a weight are sums of two halves, 22 bits; codes of Q8_0 are exact as bfloat16, and a float is the exact sum
// of three bfloat16; F32 pages are such sums themselves. Which dim is which k of the product is free as long as both
// sides agree: lane t of a group takes those that lie together.
//
// Keys:    slot_bytes(dim), shifted; parts of a query, range: whether it is scaled; dim_of(kt, t, i): the first dim of
//          pair i of lane t in step kt; split: a pair's parts; scores<NT>: sums of one strip
// Values:  slot_bytes, shifted; dim_of(v, g, h): the dim of row g + 8 · h of tile v; scale: of all sums;
//          add<VT, NT>: adds a strip's weighted values
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/core/mma.h"
#include "cuda/core/packed.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/attention/decode/strips.h"

namespace vivace::cuda {

// Lanes: group g has rows g and g + 8 of A and column g of B, part t of four neighbours the k.
struct LanePlace {
  int lane, g, t;
  __device__ LanePlace()
      : lane(static_cast<int>(threadIdx.x % 32)),
        g(static_cast<int>(threadIdx.x % 32 / 4)),
        t(static_cast<int>(threadIdx.x % 4)) {}
};

// Parts of the queries as B: [part][step of 16 dims][tile of 8 columns][lane][2 words].
template <int NT>
struct QueryParts {
  Shared<uint32_t> words;
  int steps;

  __host__ __device__ static int bytes(int parts, int steps) { return parts * steps * NT * 256; }
  __device__ size_t place(int part, int step, int tile, int lane) const {
    return static_cast<size_t>((((part * steps + step) * NT + tile) * 32 + lane) * 2);
  }
  __device__ void get(int part, int step, int tile, int lane, uint32_t (&b)[2]) const {
    const uint2 pair = load_as<uint2>(words, place(part, step, tile, lane));
    b[0] = pair.x;
    b[1] = pair.y;
  }
};

struct KeysF16 {
  static constexpr bool shifted = false, range = true;
  static constexpr int parts = 2;
  // Odd numbers of 16 bytes from row to row: the eight rows of a matrix lie in different banks.
  __host__ __device__ static int slot_bytes(int dim) { return (dim / 8 | 1) * 16; }
  __device__ static int dim_of(int kt, int t, int i) { return 16 * kt + 2 * t + 8 * i; }
  __device__ static void split(float low, float high, uint32_t (&out)[parts]) { split_f16(low, high, out); }

  template <int NT>
  __device__ static void scores(const StripStage& stage, int slot, const DeviceKv&, const QueryParts<NT>& queries,
                                int tiles, float (&s)[NT][4]) {
    const LanePlace at;
    float low[NT][4] = {};
    ROLLED
    for (int kt = 0; kt < queries.steps; ++kt) {
      uint32_t keys[4];
      load_matrices(keys, stage.keys, static_cast<size_t>(at.lane % 16 * slot + 16 * (2 * kt + at.lane / 16)));
      UNROLL
      for (int n = 0; n < NT; ++n) {
        if (n >= tiles) break;
        uint32_t b[2];
        queries.get(0, kt, n, at.lane, b);
        multiply_f16(s[n], keys, b);
        queries.get(1, kt, n, at.lane, b);
        multiply_f16(low[n], keys, b);
      }
    }
    UNROLL
    for (int n = 0; n < NT; ++n) UNROLL
    for (int i = 0; i < 4; ++i) s[n][i] += low[n][i];
  }
};

struct ValuesF16 {
  static constexpr bool shifted = false;
  static constexpr float lift = 16384.0f, scale = 1.0f / lift;  // of weights, so that their low parts are not small
  __host__ __device__ static int slot_bytes(int dim) { return (dim / 8 | 1) * 16; }
  __device__ static int dim_of(int v, int g, int h) { return 16 * v + g + 8 * h; }

  // weights: of keys 2t, 2t + 1, 2t + 8, 2t + 9 for column g.
  template <int VT, int NT>
  __device__ static void add(const StripStage& stage, int slot, const DeviceKv&, const float (&weights)[NT][4],
                             int value_tiles, int tiles, float (&o)[VT][NT][4]) {
    const LanePlace at;
    uint32_t high[NT][2], low[NT][2];
    UNROLL
    for (int n = 0; n < NT; ++n) UNROLL
    for (int i = 0; i < 2; ++i) {
      uint32_t both[2];
      split_f16(weights[n][2 * i] * lift, weights[n][2 * i + 1] * lift, both);
      high[n][i] = both[0];
      low[n][i] = both[1];
    }
    UNROLL
    for (int v = 0; v < VT; ++v) {
      if (v >= value_tiles) break;
      uint32_t values[4];
      load_transposed(values, stage.values,
                      static_cast<size_t>((at.lane % 8 + at.lane / 16 * 8) * slot + 16 * (2 * v + at.lane / 8 % 2)));
      UNROLL
      for (int n = 0; n < NT; ++n) {
        if (n >= tiles) break;
        multiply_f16(o[v][n], values, low[n]);
        multiply_f16(o[v][n], values, high[n]);
      }
    }
  }
};

// Rows of blocks of 32: a half, the scale, and codes. They begin at any even address.
struct Blocks {
  static constexpr bool shifted = true;
  // Blocks of so many bytes.
  __host__ __device__ static int slot_bytes(int dim, int block) { return ((dim / 32 * block + 30) / 16 | 1) * 16; }

  // Byte of a row in its slots.
  __device__ static int begin(const StripStage& stage, int slot, int row, int64_t row_bytes) {
    return row * slot + static_cast<int>(stage.cells[row] * row_bytes & 15);
  }
  __device__ static float scale_at(const Shared<uint8_t>& slots, int at) {
    return __half2float(__ushort_as_half(load_as<unsigned short>(slots, static_cast<size_t>(at))));
  }
  // Four bytes at an even address.
  __device__ static uint32_t word_at(const Shared<uint8_t>& slots, int at) {
    const uint32_t low = load_as<uint32_t>(slots, static_cast<size_t>(at & ~3));
    if ((at & 2) == 0) return low;
    return __byte_perm(low, load_as<uint32_t>(slots, static_cast<size_t>((at & ~3) + 4)), 0x5432);
  }
};

// Codes of a type of blocks. four: of a block, as bytes, those from value `first` on, which 4 divides; numbers: two of
// them, each in both bytes of a half of the word, as bfloat16.
struct CodesQ8_0 {
  static constexpr int most_bytes = 34;
  __device__ explicit CodesQ8_0(DType) {}
  __device__ static int bytes() { return 34; }
  __device__ static uint32_t four(const Shared<uint8_t>& slots, int block, int first) {
    return Blocks::word_at(slots, block + 2 + first);
  }
  // 128 + the seven low bits, less 128 or, where the sign is set, 256.
  __device__ static uint32_t numbers(uint32_t codes) {
    return subtract_bf16((codes & 0x007f007fu) | 0x43004300u, (codes & 0x00800080u) | 0x43004300u);
  }
};

// Values j and j + 16 share a byte.
struct CodesQ4_0 {
  static constexpr int most_bytes = 18;
  __device__ explicit CodesQ4_0(DType) {}
  __device__ static int bytes() { return 18; }
  __device__ static uint32_t four(const Shared<uint8_t>& slots, int block, int first) {
    return Blocks::word_at(slots, block + 2 + first % 16) >> (first / 16 * 4) & 0x0f0f0f0fu;
  }
  // 128 + the code, less 136.
  __device__ static uint32_t numbers(uint32_t codes) {
    return subtract_bf16((codes & 0x000f000fu) | 0x43004300u, 0x43084308u);
  }
};

// Either of them, where keys and values are of different types: a kernel less for each pair.
struct CodesOfEither {
  static constexpr int most_bytes = 34;
  const bool few;
  __device__ explicit CodesOfEither(DType dtype) : few(dtype == DType::Q4_0) {}
  __device__ int bytes() const { return few ? 18 : 34; }
  __device__ uint32_t four(const Shared<uint8_t>& slots, int block, int first) const {
    return few ? CodesQ4_0::four(slots, block, first) : CodesQ8_0::four(slots, block, first);
  }
  __device__ int whole(int8_t code) const { return few ? code - 8 : code; }
  __device__ uint32_t numbers(uint32_t codes) const {
    return few ? CodesQ4_0::numbers(codes) : CodesQ8_0::numbers(codes);
  }
};

template <class Codes>
struct KeysOfBlocks : Blocks {
  static constexpr bool range = false;
  static constexpr int parts = 3;
  __host__ __device__ static int slot_bytes(int dim) { return Blocks::slot_bytes(dim, Codes::most_bytes); }
  __device__ static int dim_of(int kt, int t, int i) { return 16 * kt + 4 * t + 2 * i; }
  __device__ static void split(float low, float high, uint32_t (&out)[parts]) { split_bf16(low, high, out); }

  template <int NT>
  __device__ static void scores(const StripStage& stage, int slot, const DeviceKv& kv, const QueryParts<NT>& queries,
                                int tiles, float (&s)[NT][4]) {
    const LanePlace at;
    const Codes codes(kv.key_dtype);
    const int rows[2] = {begin(stage, slot, at.g, kv.key_row), begin(stage, slot, at.g + 8, kv.key_row)};
    ROLLED
    for (int block = 0; 2 * block < queries.steps; ++block) {
      float scales[2];
      uint32_t keys[2][4];
      UNROLL
      for (int h = 0; h < 2; ++h) {
        const int from = rows[h] + codes.bytes() * block;
        scales[h] = scale_at(stage.keys, from);
        UNROLL
        for (int step = 0; step < 2; ++step) {
          const uint32_t word = codes.four(stage.keys, from, 16 * step + 4 * at.t);
          keys[step][h] = codes.numbers(__byte_perm(word, word, 0x1100));
          keys[step][2 + h] = codes.numbers(__byte_perm(word, word, 0x3322));
        }
      }
      UNROLL
      for (int n = 0; n < NT; ++n) {
        if (n >= tiles) break;
        float sums[4] = {0, 0, 0, 0};
        UNROLL
        for (int part = parts - 1; part >= 0; --part) UNROLL
        for (int step = 0; step < 2; ++step) {
          uint32_t b[2];
          queries.get(part, 2 * block + step, n, at.lane, b);
          multiply_bf16(sums, keys[step], b);
        }
        UNROLL
        for (int i = 0; i < 4; ++i) s[n][i] = fmaf(scales[i / 2], sums[i], s[n][i]);
      }
    }
  }
};

template <class Codes>
struct ValuesOfBlocks : Blocks {
  static constexpr float scale = 1.0f;
  __host__ __device__ static int slot_bytes(int dim) { return Blocks::slot_bytes(dim, Codes::most_bytes); }
  // Lane group g has dims 4g … 4g + 3 of 32: two in each of two tiles.
  __device__ static int dim_of(int v, int g, int h) { return v / 2 * 32 + 4 * g + v % 2 * 2 + h; }

  template <int VT, int NT>
  __device__ static void add(const StripStage& stage, int slot, const DeviceKv& kv, const float (&weights)[NT][4],
                             int value_tiles, int tiles, float (&o)[VT][NT][4]) {
    const LanePlace at;
    const Codes codes(kv.value_dtype);
    int rows[4];
    UNROLL
    for (int i = 0; i < 4; ++i) rows[i] = begin(stage, slot, 2 * at.t + i % 2 + i / 2 * 8, kv.value_row);
    UNROLL
    for (int block = 0; block < VT / 2; ++block) {
      if (2 * block >= value_tiles) break;
      float scales[4];
      uint32_t words[4], values[2][4];
      UNROLL
      for (int i = 0; i < 4; ++i) {
        const int from = rows[i] + codes.bytes() * block;
        scales[i] = scale_at(stage.values, from);
        words[i] = codes.four(stage.values, from, 4 * at.g);
      }
      // Byte b of the words of keys 2t and 2t + 1, and of those 8 farther.
      UNROLL
      for (int b = 0; b < 4; ++b) {
        const auto selector = static_cast<unsigned>(b * 0x11 | (b + 4) * 0x1100);
        values[b / 2][b % 2] = codes.numbers(__byte_perm(words[0], words[1], selector));
        values[b / 2][2 + b % 2] = codes.numbers(__byte_perm(words[2], words[3], selector));
      }
      UNROLL
      for (int n = 0; n < NT; ++n) {
        if (n >= tiles) break;
        uint32_t own[2][3];
        UNROLL
        for (int i = 0; i < 2; ++i)
          split_bf16(__fmul_rn(weights[n][2 * i], scales[2 * i]), __fmul_rn(weights[n][2 * i + 1], scales[2 * i + 1]),
                     own[i]);
        UNROLL
        for (int part = 2; part >= 0; --part) {
          const uint32_t b[2] = {own[0][part], own[1][part]};
          multiply_bf16(o[2 * block][n], values[0], b);
          multiply_bf16(o[2 * block + 1][n], values[1], b);
        }
      }
    }
  }
};

using KeysQ8_0 = KeysOfBlocks<CodesQ8_0>;
using ValuesQ8_0 = ValuesOfBlocks<CodesQ8_0>;
using KeysQ4_0 = KeysOfBlocks<CodesQ4_0>;
using ValuesQ4_0 = ValuesOfBlocks<CodesQ4_0>;
using KeysOfEither = KeysOfBlocks<CodesOfEither>;
using ValuesOfEither = ValuesOfBlocks<CodesOfEither>;

// Products of sums of three parts, but for the smallest.
__device__ inline void multiply_parts(float (&d)[4], const uint32_t (&a)[3][4], const uint32_t (&b)[3][2]) {
  constexpr int order[6][2] = {{0, 2}, {2, 0}, {1, 1}, {0, 1}, {1, 0}, {0, 0}};
  UNROLL
  for (int i = 0; i < 6; ++i) multiply_bf16(d, a[order[i][0]], b[order[i][1]]);
}

struct KeysF32 {
  static constexpr bool shifted = false, range = false;
  static constexpr int parts = 3;
  // 64 bytes beyond a multiple of 128: two rows are read at a time.
  __host__ __device__ static int slot_bytes(int dim) { return (dim * 4 + 127) / 128 * 128 + 64; }
  __device__ static int dim_of(int kt, int t, int i) { return 16 * kt + 4 * t + 2 * i; }
  __device__ static void split(float low, float high, uint32_t (&out)[parts]) { split_bf16(low, high, out); }

  template <int NT>
  __device__ static void scores(const StripStage& stage, int slot, const DeviceKv&, const QueryParts<NT>& queries,
                                int tiles, float (&s)[NT][4]) {
    const LanePlace at;
    ROLLED
    for (int kt = 0; kt < queries.steps; ++kt) {
      uint32_t keys[3][4];
      UNROLL
      for (int h = 0; h < 2; ++h) {
        const float4 x = load_as<float4>(stage.keys, static_cast<size_t>((at.g + 8 * h) * slot + 64 * kt + 16 * at.t));
        uint32_t first[3], second[3];
        split_bf16(x.x, x.y, first);
        split_bf16(x.z, x.w, second);
        UNROLL
        for (int part = 0; part < 3; ++part) {
          keys[part][h] = first[part];
          keys[part][2 + h] = second[part];
        }
      }
      UNROLL
      for (int n = 0; n < NT; ++n) {
        if (n >= tiles) break;
        uint32_t b[3][2];
        UNROLL
        for (int part = 0; part < 3; ++part) queries.get(part, kt, n, at.lane, b[part]);
        multiply_parts(s[n], keys, b);
      }
    }
  }
};

struct ValuesF32 {
  static constexpr bool shifted = false;
  static constexpr float scale = 1.0f;
  __host__ __device__ static int slot_bytes(int dim) { return (dim * 4 + 127) / 128 * 128 + 64; }
  __device__ static int dim_of(int v, int g, int h) { return 16 * v + 2 * g + h; }

  template <int VT, int NT>
  __device__ static void add(const StripStage& stage, int slot, const DeviceKv&, const float (&weights)[NT][4],
                             int value_tiles, int tiles, float (&o)[VT][NT][4]) {
    const LanePlace at;
    uint32_t own[NT][3][2];
    UNROLL
    for (int n = 0; n < NT; ++n) UNROLL
    for (int i = 0; i < 2; ++i) {
      uint32_t pair[3];
      split_bf16(weights[n][2 * i], weights[n][2 * i + 1], pair);
      UNROLL
      for (int part = 0; part < 3; ++part) own[n][part][i] = pair[part];
    }
    UNROLL
    for (int v = 0; v < VT; ++v) {
      if (v >= value_tiles) break;
      uint32_t values[3][4];
      UNROLL
      for (int i = 0; i < 2; ++i) {  // keys 2t and 2t + 1, and those 8 farther
        const int key = 2 * at.t + 8 * i, byte = 64 * v + 8 * at.g;
        const float2 a = load_as<float2>(stage.values, static_cast<size_t>(key * slot + byte));
        const float2 b = load_as<float2>(stage.values, static_cast<size_t>((key + 1) * slot + byte));
        uint32_t first[3], second[3];
        split_bf16(a.x, b.x, first);
        split_bf16(a.y, b.y, second);
        UNROLL
        for (int part = 0; part < 3; ++part) {
          values[part][2 * i] = first[part];
          values[part][2 * i + 1] = second[part];
        }
      }
      UNROLL
      for (int n = 0; n < NT; ++n) {
        if (n >= tiles) break;
        multiply_parts(o[v][n], values, own[n]);
      }
    }
  }
};

}  // namespace vivace::cuda
