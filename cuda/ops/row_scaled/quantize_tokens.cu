// quantize_tokens: see cpp/ops/row_scaled/quantize_tokens.h; the same bits as on the CPU.
#include "cuda/core/launch.h"
#include "cuda/ops/elementwise.h"
#include "cuda/quant/a8_token.h"

namespace vivace::cuda {
namespace {

// One block per row.
__global__ void quantize_stored_tokens(const float* x, uint8_t* y, int64_t columns) {
  const float* in = x + static_cast<int64_t>(blockIdx.x) * columns;
  quantize_token(y + static_cast<int64_t>(blockIdx.x) * (columns + token_header), columns,
                 [&](int64_t i) { return in[i]; });
}

}  // namespace

void quantize_tokens(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &y = run.outputs[0];
  launch<quantize_stored_tokens>(Launch{dim3(static_cast<unsigned>(x.rows)), dim3(token_threads), 0, run.stream},
                                 values_of<const float>(x), values_of<uint8_t>(y), x.columns);
}

}  // namespace vivace::cuda
