// quantize_tokens: see cpp/ops/row_scaled/quantize_tokens.h; the same bits as on the CPU.
#include "cuda/core/launch.h"
#include "cuda/core/reduce.h"
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

constexpr unsigned threads = 128;
constexpr int header = 64;  // bytes before the codes

// One block per row.
__global__ void quantize_token(const float* x, uint8_t* y, int64_t columns) {
  const float* in = x + static_cast<int64_t>(blockIdx.x) * columns;
  uint8_t* out = y + static_cast<int64_t>(blockIdx.x) * (columns + header);
  uint32_t top = 0;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) {
    const uint32_t size = __float_as_uint(in[i]) & 0x7fffffffu;
    top = size > top ? size : top;
  }
  top = max_of_block(top);
  const bool empty = top < 0x0d800000u || top >= 0x7f800000u;  // 2^-100, infinity
  const float inverse = empty ? 0.0f : 127.0f / __uint_as_float(top);
  int32_t sum = 0;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) {
    const int code = empty ? 0 : __float2int_rn(in[i] * inverse);
    out[header + i] = static_cast<uint8_t>(code);
    sum += code;
  }
  sum = sum_of_block(sum);
  if (threadIdx.x != 0) return;
  const float scale = top >= 0x7f800000u ? __uint_as_float(0x7fc00000u) : empty ? 1.0f : __uint_as_float(top) / 127.0f;
  const uint32_t words[2] = {__float_as_uint(scale), static_cast<uint32_t>(sum)};
  for (int i = 0; i < 8; ++i) out[i] = static_cast<uint8_t>(words[i / 4] >> (i % 4 * 8));
}

}  // namespace

void quantize_tokens(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &y = run.outputs[0];
  launch<quantize_token>(Launch{dim3(static_cast<unsigned>(x.rows)), dim3(threads), 0, run.stream},
                         values_of<const float>(x), values_of<uint8_t>(y), x.columns);
}

}  // namespace vivace::cuda
