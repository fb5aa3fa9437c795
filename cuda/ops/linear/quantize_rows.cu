// quantize_rows: see cpp/ops/linear/quantize_rows.h; the same bits as on the CPU.
#include "cuda/ops/elementwise.h"
#include "ops/linear/a8.h"

namespace vivace::cuda {
namespace {

// One thread per block of 32 values.
__global__ void quantize_blocks(const float* x, A8Block* y, int64_t blocks) {
  for_each_value(blocks, [&](int64_t at) {
    const float* in = x + at * 32;
    uint32_t top = 0;
    for (int i = 0; i < 32; ++i) {
      const uint32_t size = __float_as_uint(in[i]) & 0x7fffffffu;
      top = size > top ? size : top;
    }
    A8Block block = {};
    if (top >= 0x7f800000u) {
      block.scale = __uint_as_float(0x7fc00000u);
      for (int i = 0; i < 3; ++i) block.scaled_sums[i] = block.scale;
    } else if (top >= 0x0d800000u) {  // 2^-100
      const float largest = __uint_as_float(top), inverse = 127.0f / largest;
      block.scale = largest / 127.0f;
      for (int i = 0; i < 32; ++i) {
        const int code = __float2int_rn(in[i] * inverse);
        block.codes[i] = static_cast<int8_t>(code);
        block.minus_sums[i / 16] -= code;
      }
      block.minus_sums[A8Block::all] = block.minus_sums[0] + block.minus_sums[1];
      for (int i = 0; i < 3; ++i) block.scaled_sums[i] = static_cast<float>(-block.minus_sums[i]) * block.scale;
    }
    y[at] = block;
  });
}

}  // namespace

void quantize_rows(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &y = run.outputs[0];
  const int64_t blocks = x.rows * x.columns / 32;
  launch<quantize_blocks>(elementwise(blocks, run), values_of<const float>(x), values_of<A8Block>(y), blocks);
}

}  // namespace vivace::cuda
