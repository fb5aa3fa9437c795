// Scores that labels promise, with the bits of cpp/ops/attention/sparse/label_scores.h: a query is rounded to 15 bits
// of its largest channel, and products are summed as whole numbers; with labels of 16 bits channels are added in
// ascending order.
#pragma once
#include <cuda_fp16.h>

#include "cuda/core/shared.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/attention/sparse/choice.h"
#include "cuda/ops/attention/sparse/sparse.h"

namespace vivace::cuda {

inline constexpr int scan_threads = 128;
inline constexpr int scan_blocks = 4;                  // of a multiprocessor
inline constexpr int scan_queries = 8;                 // that share what is read of labels
inline constexpr float largest_label_code = 16319.0f;  // 127 · 128 + 63: two signed bytes, the lower one of 7 bits

// The queries of a KV head in shared memory, in the channels of their labels: [group][words] high and low bytes, four
// to a word, and what belongs to them; or [group][channels] floats.
struct LabelQueries {
  int group, channels, words;
  bool whole;

  __host__ __device__ LabelQueries(const SparseCall& call)
      : group(call.group),
        channels(call.kv.labels.channels),
        words((call.kv.labels.channels + 15) / 16 * 4),
        whole(call.kv.labels.bits < 16) {}
  __host__ __device__ size_t bytes() const {
    return static_cast<size_t>(group) *
           (whole ? 8 * static_cast<size_t>(words) + 8 : 4 * static_cast<size_t>(channels));
  }
  __device__ Shared<int> high() const { return dynamic_shared<int>(0, static_cast<size_t>(group * words)); }
  __device__ Shared<int> low() const {
    return dynamic_shared<int>(static_cast<size_t>(4 * group * words), static_cast<size_t>(group * words));
  }
  __device__ Shared<float> totals() const {
    return dynamic_shared<float>(static_cast<size_t>(8 * group * words), static_cast<size_t>(group));
  }
  __device__ Shared<float> scales() const {
    return dynamic_shared<float>(static_cast<size_t>(8 * group * words + 4 * group), static_cast<size_t>(group));
  }
  __device__ Shared<float> plain() const {
    return dynamic_shared<float>(0, static_cast<size_t>(group) * static_cast<size_t>(channels));
  }

  // A warp for each query.
  __device__ void load(const SparseCall& call, int64_t row, int kv_head) const {
    const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
    const int own = call.kv.labels.sets / call.kv.kv_heads, per_set = group / own;
    for (int n = warp; n < group; n += scan_threads / 32) {
      const float* query = call.q + (row * call.heads + kv_head * group + n) * call.kv.key_dim;
      const int32_t* table = call.channels + (kv_head * own + n / per_set) * channels;
      if (!whole) {
        for (int c = lane; c < channels; c += 32) plain()[n * channels + c] = query[table[c]];
        continue;
      }
      float largest = 0.0f;
      for (int c = lane; c < channels; c += 32) largest = fmaxf(largest, fabsf(query[table[c]]));
      for (int step = 16; step > 0; step /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
      const bool usable = largest > 0x1p-100f && largest < 0x1p100f;
      const float scale = usable ? __fdiv_rn(largest, largest_label_code) : 1.0f;
      const float inverse = usable ? __fdiv_rn(largest_label_code, largest) : 0.0f;
      int sums[2] = {0, 0};
      for (int word = lane; word < words; word += 32) {
        uint32_t high_word = 0, low_word = 0;
        for (int i = 0; i < 4 && 4 * word + i < channels; ++i) {
          const float value = inverse == 0.0f ? 0.0f : __fmul_rn(query[table[4 * word + i]], inverse);
          // Adding 1.5 · 2^23 leaves the nearest whole number in the low bits.
          const int code = __float_as_int(__fadd_rn(value, 12582912.0f)) - 0x4b400000;
          const int rest = ((code + 64) & 127) - 64, rise = (code - rest) / 128;
          sums[0] += rise;
          sums[1] += rest;
          high_word |= (static_cast<uint32_t>(rise) & 255u) << (8 * i);
          low_word |= (static_cast<uint32_t>(rest) & 255u) << (8 * i);
        }
        high()[n * words + word] = static_cast<int>(high_word);
        low()[n * words + word] = static_cast<int>(low_word);
      }
      for (int step = 16; step > 0; step /= 2) {
        sums[0] += __shfl_xor_sync(0xffffffffu, sums[0], step);
        sums[1] += __shfl_xor_sync(0xffffffffu, sums[1], step);
      }
      if (lane == 0) {
        totals()[n] = static_cast<float>(128 * sums[0] + sums[1]);
        scales()[n] = scale;
      }
    }
  }

  __device__ float scale_of(int n) const { return whole ? static_cast<float>(scales()[n]) : 1.0f; }
};

__device__ inline float half_at(const std::byte* at) {
  return __half2float(__ushort_as_half(*reinterpret_cast<const unsigned short*>(at)));
}

// Scores of queries [first, first + count) with the label of one slot of a page; `labels`: of their set.
template <int bits>
__device__ inline void score_label(const LabelQueries& queries, const DeviceKv& kv, const std::byte* labels, int slot,
                                   int first, int count, float (&scores)[scan_queries]) {
  const int64_t size = kv.page_size;
  if constexpr (bits == 16) {
    UNROLL
    for (int n = 0; n < scan_queries; ++n) scores[n] = 0.0f;
    for (int c = 0; c < queries.channels; ++c) {
      const float label = half_at(labels + 2 * (c * size + slot));
      UNROLL
      for (int n = 0; n < scan_queries; ++n)
        if (n < count)
          scores[n] = __fadd_rn(scores[n], __fmul_rn(queries.plain()[(first + n) * queries.channels + c], label));
    }
    UNROLL
    for (int n = 0; n < scan_queries; ++n) scores[n] = __fadd_rn(scores[n], 0.0f);  // there is one zero
  } else {
    constexpr int per_word = 8 / bits;  // groups of four channels in a word
    constexpr int mask = bits == 8 ? -1 : ((1 << (bits % 8)) - 1) * 0x01010101;
    const int words = (queries.channels + 4 * per_word - 1) / (4 * per_word);
    int high[scan_queries] = {}, low[scan_queries] = {};
    for (int word = 0; word < words; ++word) {
      const int codes = *reinterpret_cast<const int*>(labels + 4 * (word * size + slot));
      UNROLL
      for (int part = 0; part < per_word; ++part) {
        const int four = bits == 8 ? codes : codes >> (bits * part) & mask;
        const int at = first * queries.words + word * per_word + part;
        UNROLL
        for (int n = 0; n < scan_queries; ++n)
          if (n < count) {
            high[n] = __dp4a(four, static_cast<int>(queries.high()[at + n * queries.words]), high[n]);
            low[n] = __dp4a(four, static_cast<int>(queries.low()[at + n * queries.words]), low[n]);
          }
      }
    }
    const std::byte* steps = labels + 4 * words * size;
    const float step = half_at(steps + 2 * slot), least = bits < 8 ? half_at(steps + 2 * (size + slot)) : 0.0f;
    UNROLL
    for (int n = 0; n < scan_queries; ++n) {
      float score = __fmul_rn(static_cast<float>(128 * high[n] + low[n]), step);
      if (bits < 8 && n < count) score = __fadd_rn(score, __fmul_rn(least, queries.totals()[first + n]));
      scores[n] = __fadd_rn(score, 0.0f);
    }
  }
}

}  // namespace vivace::cuda
