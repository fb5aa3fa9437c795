// gated_activation_quantize: see cpp/ops/fused/gated_activation_quantize.h; the bits of gated_activation and
// quantize_rows.
#include "cuda/ops/elementwise.h"
#include "cuda/ops/pointwise/gates.h"
#include "cuda/quant/a8.h"

namespace vivace::cuda {
namespace {

// A warp has 32 values at a time: grids and counts are multiples of 32.
template <bool gelu>
__global__ void gate_and_quantize(const float* gate, const float* up, A8Block* y, int64_t count) {
  for_each_value(count, [&](int64_t i) { quantize_block(activate<gelu>(gate[i]) * up[i], y + i / 32); });
}

}  // namespace

void gated_activation_quantize(const DeviceRun& run) {
  const Tensor &gate = run.inputs[0], &up = run.inputs[1], &y = run.outputs[0];
  const int64_t count = y.rows * y.columns;
  const auto start = [&]<bool gelu>() {
    launch<gate_and_quantize<gelu>>(elementwise(count, run), values_of<const float>(gate), values_of<const float>(up),
                                    values_of<A8Block>(y), count);
  };
  if (run.attributes[0] == 0)
    start.template operator()<false>();
  else
    start.template operator()<true>();
}

}  // namespace vivace::cuda
