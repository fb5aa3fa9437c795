// Body of scale, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "core/simd.h"
#include "ops/pointwise/scale.h"
#include "ops/row_pieces.h"

namespace vivace::VIVACE_ISA {

void scale(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &y = run.outputs[0];
  const F32 factor = set1(static_cast<float>(run.attributes[0]));
  for_row_pieces(y, team, [&](int64_t row, int64_t from, int64_t count) {
    const float* in = x.row<const float>(row) + from;
    float* out = y.row<float>(row) + from;
    for_lanes(count, [&](int64_t i, int n) { store_some(out + i, load_some(in + i, n) * factor, n); });
  });
}

}  // namespace vivace::VIVACE_ISA
