// gated_activation_quantize: see cpp/ops/fused/gated_activation_quantize.h; the bits of gated_activation and
// quantize_rows or quantize_tokens.
#include "cuda/ops/elementwise.h"
#include "cuda/ops/pointwise/gates.h"
#include "cuda/quant/a8.h"
#include "cuda/quant/a8_token.h"

namespace vivace::cuda {
namespace {

// A warp has 32 values at a time: grids and counts are multiples of 32.
template <bool gelu>
__global__ void gate_and_quantize(const float* gate, const float* up, A8Block* y, int64_t count) {
  for_each_value(count, [&](int64_t i) { quantize_block(activate<gelu>(gate[i]) * up[i], y + i / 32); });
}

// One block per row.
template <bool gelu>
__global__ void gate_and_quantize_token(const float* gate, const float* up, uint8_t* y, int64_t columns) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * columns;
  quantize_token(y + static_cast<int64_t>(blockIdx.x) * (columns + token_header), columns,
                 [&](int64_t i) { return activate<gelu>(gate[at + i]) * up[at + i]; });
}

}  // namespace

void gated_activation_quantize(const DeviceRun& run) {
  const Tensor &gate = run.inputs[0], &up = run.inputs[1], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  const auto start = [&]<bool gelu>() {
    if (y.dtype == DType::A8_TOKEN) {
      launch<gate_and_quantize_token<gelu>>(
          Launch{dim3(static_cast<unsigned>(y.rows)), dim3(token_threads), 0, run.stream}, values_of<const float>(gate),
          values_of<const float>(up), values_of<uint8_t>(y), y.columns);
      return;
    }
    launch<gate_and_quantize<gelu>>(elementwise(count, run), values_of<const float>(gate), values_of<const float>(up),
                                    values_of<A8Block>(y), count);
  };
  if (run.attributes[0] == 0)
    start.template operator()<false>();
  else
    start.template operator()<true>();
}

}  // namespace vivace::cuda
