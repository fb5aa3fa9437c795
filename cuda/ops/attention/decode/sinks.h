// Sinks that a row's window has left, seen by one query vector: few enough to be read one after the other.
#pragma once
#include "cuda/core/reduce.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/attention/decode/call.h"
#include "cuda/ops/attention/pages.h"
#include "cuda/quant/dequantise.h"

namespace vivace::cuda {

// Values that a lane has of a vector, l, l + 32 …: 256 at most of all lanes.
inline constexpr int merge_dims = 8;

// A value of a row as it is stored in a page of those types that decode_attention serves.
__device__ inline float page_value(DType dtype, const uint8_t* row, int i) {
  if (dtype == DType::F16) return load_half(row + 2 * i);
  if (dtype == DType::F32) return load_float(row + 4 * i);
  const bool small = dtype == DType::Q4_0;
  const uint8_t* block = row + i / 32 * (small ? 18 : 34);
  const int code = small ? split_nibble(block + 2, i % 32) - 8 : signed_byte(block[2 + i % 32]);
  return load_half(block) * static_cast<float>(code);
}

// A state as in the memory for states, but of a warp, each lane with its dims.
struct WarpState {
  float top = -INFINITY, total = 0;  // the largest score times log2 e
  float sum[merge_dims] = {};
};

// Sinks warp, warp + warps … of the first `sinks` cells of a row, at the distance that the policy wants. Called by all
// threads of a block.
template <int warps>
__device__ inline WarpState attend_sinks(const DecodeCall& call, int64_t vector, int sinks) {
  SHARED(float, query, 256);
  const DeviceKv& kv = call.kv;
  const int64_t row = vector / call.heads;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int head = static_cast<int>(vector % call.heads) / call.group;
  const SinkTurn turn(call.batch, kv, call.pattern, row);
  const float* q = call.q + vector * kv.key_dim;
  for (int d = thread; d < kv.key_dim; d += 32 * warps)
    query[d] = turned_value(turn.query, turn.pairs, d, [&](int i) { return q[i]; });
  __syncthreads();
  const VivaceDevicePlace place = place_of(kv, call.layer, head);
  const PageTable pages(call.batch, kv, row, place);
  WarpState state;
  for (int sink = warp; sink < sinks; sink += warps) {
    const std::byte* page = pages.at(sink / kv.page_size);
    const int slot = sink % kv.page_size;
    const auto* key = reinterpret_cast<const uint8_t*>(page + place.key + slot * kv.key_row);
    const auto* value = reinterpret_cast<const uint8_t*>(page + place.value + slot * kv.value_row);
    const auto key_value = [&](int i) { return page_value(kv.key_dtype, key, i); };
    float score = 0;
    for (int d = lane; d < kv.key_dim; d += 32)
      score = fmaf(query[d],
                   turn.keys != nullptr ? turned_value(turn.key(sink), turn.pairs, d, key_value) : key_value(d), score);
    for (int step = 16; step > 0; step /= 2) score += __shfl_xor_sync(0xffffffffu, score, step);
    score *= call.scale;
    if (call.softcap > 0) score = call.softcap * tanhf(score / call.softcap);
    score *= 1.4426950408889634f;
    const float next = fmaxf(state.top, score), base = next == -INFINITY ? 0.0f : next;
    const float keep = exp2f(state.top - base), weight = exp2f(score - base);
    state.top = next;
    state.total = fmaf(state.total, keep, weight);
    UNROLL
    for (int i = 0; i < merge_dims; ++i)
      if (lane + 32 * i < kv.value_dim)
        state.sum[i] = fmaf(state.sum[i], keep, weight * page_value(kv.value_dtype, value, lane + 32 * i));
  }
  return state;
}

}  // namespace vivace::cuda
