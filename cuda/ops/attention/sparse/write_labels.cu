// Labels of the keys that a run has written: the bits of cpp/caches/labels/labels.cpp. They are made of the keys as the
// cache has them, a warp for each.
#include "cuda/core/launch.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/attention/sparse/choice.h"
#include "cuda/ops/attention/sparse/sparse.h"
#include "cuda/ops/elementwise.h"
#include "cuda/quant/dequantise.h"

namespace vivace::cuda {
namespace {

constexpr int warps = 4, lane_channels = 8;  // a lane has channels l, l + 32 …: 256 at most

// Nothing that is not a number becomes a code: a label of such a key has a step that is none either.
__device__ int code_of(float ratio, int least, int most) {
  const float shifted = __fadd_rn(ratio, ratio < 0.0f ? -0.5f : 0.5f);
  if (!(shifted > static_cast<float>(least))) return least;
  if (!(shifted < static_cast<float>(most))) return most;
  return static_cast<int>(shifted);
}

__device__ void put_half(std::byte* at, float value) {
  // The sign of what is no number differs between processors.
  *reinterpret_cast<unsigned short*>(at) = value != value ? 0x7e00 : __half_as_ushort(__float2half_rn(value));
}

__global__ void __launch_bounds__(32 * warps)
    make_labels(DeviceBatch batch, DeviceKv kv, int layer, int64_t place, const int32_t* table, int64_t count) {
  const DeviceLabels& labels = kv.labels;
  const int lane = static_cast<int>(threadIdx.x % 32), own = labels.sets / kv.kv_heads, bits = labels.bits;
  const int per_word = 32 / bits, words = (labels.channels + per_word - 1) / per_word, size = kv.page_size;
  const int64_t step_by = int64_t{gridDim.x} * warps;
  for (int64_t index = int64_t{blockIdx.x} * warps + threadIdx.x / 32; index < count; index += step_by) {
    const int64_t row = index / labels.sets;
    const int set = static_cast<int>(index % labels.sets), cell = batch.cells[row];
    if (cell < 0) continue;  // padding
    const auto* key = reinterpret_cast<const uint8_t*>(key_row(batch, kv, row, layer, set / own, cell));
    std::byte* out = page_of(batch, kv, row, cell) + place + set * labels.bytes;
    const int slot = cell % size;
    const int32_t* channels = table + set * labels.channels;
    float x[lane_channels], low = INFINITY, high = -INFINITY, strange = 0.0f;
    UNROLL
    for (int i = 0; i < lane_channels; ++i) {
      const int channel = lane + 32 * i;
      x[i] = 0.0f;
      if (channel >= labels.channels) continue;
      x[i] = weight_value(kv.key_dtype, key, channels[channel]);
      low = fminf(low, x[i]);
      high = fmaxf(high, x[i]);
      strange = __fadd_rn(strange, __fmul_rn(x[i], 0.0f));
      if (bits == 16) put_half(out + 2 * (int64_t{channel} * size + slot), x[i]);
    }
    if (bits == 16) continue;
    for (int step = 16; step > 0; step /= 2) {
      low = fminf(low, __shfl_xor_sync(0xffffffffu, low, step));
      high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, step));
      strange = __fadd_rn(strange, __shfl_xor_sync(0xffffffffu, strange, step));
    }
    const bool centred = bits == 8;
    const int most = centred ? 127 : (1 << bits) - 1;
    if (centred) high = fmaxf(high, -low);
    float step = __fdiv_rn(centred ? high : __fsub_rn(high, low), static_cast<float>(most));
    if (step == 0.0f) step = 1.0f;
    const float base = centred ? 0.0f : low;
    // Codes of a word lie with as many neighbouring lanes; the first of them writes it.
    UNROLL
    for (int i = 0; i < lane_channels; ++i) {
      if (32 * i >= labels.channels) break;
      const int channel = lane + 32 * i, in_word = channel % per_word;
      uint32_t word = 0;
      if (channel < labels.channels)
        word = (static_cast<uint32_t>(code_of(__fdiv_rn(__fsub_rn(x[i], base), step), centred ? -127 : 0, most)) &
                ((1u << bits) - 1))
               << (8 * (channel % 4) + bits * (in_word / 4));
      for (int other = 1; other < per_word; other *= 2) word |= __shfl_xor_sync(0xffffffffu, word, other);
      if (in_word == 0 && channel < labels.channels)
        *reinterpret_cast<uint32_t*>(out + 4 * (int64_t{channel / per_word} * size + slot)) = word;
    }
    if (lane != 0) continue;
    std::byte* steps = out + int64_t{4} * words * size;
    put_half(steps + 2 * slot, __fadd_rn(step, strange));
    if (!centred) put_half(steps + 2 * (int64_t{size} + slot), low);
  }
}

}  // namespace

void write_labels(const DeviceRun& run) {
  const DeviceLabels& labels = run.kv.labels;
  const int layer = static_cast<int>(run.attributes[0]);
  if (labels.channels == 0 || labels.offsets[layer] < 0) return;
  const int64_t count = run.inputs[0].rows * labels.sets, most = int64_t{16} * run.device->multiprocessors;
  const int64_t blocks = (count + warps - 1) / warps;
  launch<make_labels>(
      Launch{dim3(static_cast<unsigned>(blocks < most ? blocks : most)), dim3(32 * warps), 0, run.stream}, run.batch,
      run.kv, layer, labels.offsets[layer], labels.table + int64_t{layer} * labels.sets * labels.channels, count);
}

}  // namespace vivace::cuda
