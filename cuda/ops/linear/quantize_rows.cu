// quantize_rows: see cpp/ops/linear/quantize_rows.h; the same bits as on the CPU.
#include "cuda/ops/elementwise.h"
#include "cuda/quant/a8.h"

namespace vivace::cuda {
namespace {

// A warp has 32 values at a time: grids and counts are multiples of 32.
__global__ void quantize_blocks(const float* x, A8Block* y, int64_t count) {
  for_each_value(count, [&](int64_t i) { quantize_block(x[i], y + i / 32); });
}

}  // namespace

void quantize_rows(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &y = run.outputs[0];
  const int64_t count = x.rows * x.columns;
  launch<quantize_blocks>(elementwise(count, run), values_of<const float>(x), values_of<A8Block>(y), count);
}

}  // namespace vivace::cuda
