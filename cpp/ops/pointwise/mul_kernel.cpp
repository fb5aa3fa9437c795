// Body of mul, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "core/simd.h"
#include "ops/pointwise/mul.h"
#include "ops/row_pieces.h"

namespace vivace::VIVACE_ISA {

void mul(const OpRun& run, Team& team) {
  const Tensor &a = run.inputs[0], &b = run.inputs[1], &y = run.outputs[0];
  for_row_pieces(y, team, [&](int64_t row, int64_t from, int64_t count) {
    const float* left = a.row<const float>(row) + from;
    const float* right = b.row<const float>(b.rows == 1 ? 0 : row) + from;
    float* out = y.row<float>(row) + from;
    for_lanes(count,
              [&](int64_t i, int n) { store_some(out + i, load_some(left + i, n) * load_some(right + i, n), n); });
  });
}

}  // namespace vivace::VIVACE_ISA
