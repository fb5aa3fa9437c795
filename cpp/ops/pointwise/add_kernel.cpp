// Compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/pointwise/add.h"

namespace vivace::VIVACE_ISA {

void add(const OpRun& run, Team& team) {
  const Tensor &a = run.inputs[0], &b = run.inputs[1], &y = run.outputs[0];
  int64_t begin, end;
  team.range(y.rows * y.columns, 16, begin, end);
  for (int64_t index = begin; index < end;) {
    const int64_t row = index / y.columns, from = index % y.columns;
    const int64_t count = (y.columns - from < end - index) ? y.columns - from : end - index;
    const float* left = a.row<const float>(row) + from;
    const float* right = b.row<const float>(b.rows == 1 ? 0 : row) + from;
    float* out = y.row<float>(row) + from;
    for (int64_t i = 0; i < count; ++i) out[i] = left[i] + right[i];
    index += count;
  }
}

}  // namespace vivace::VIVACE_ISA
