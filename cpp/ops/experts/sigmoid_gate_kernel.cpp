// Body of sigmoid_gate, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "core/simd.h"
#include "ops/experts/sigmoid_gate.h"
#include "ops/row_pieces.h"

namespace vivace::VIVACE_ISA {

void sigmoid_gate(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &gate = run.inputs[1], &y = run.outputs[0];
  for_row_pieces(y, team, [&](int64_t row, int64_t from, int64_t count) {
    const float* in = x.row<const float>(row) + from;
    float* out = y.row<float>(row) + from;
    const F32 divisor = set1(1.0f) + exp(-set1(gate.row<const float>(row)[0]));
    for_lanes(count, [&](int64_t i, int n) { store_some(out + i, load_some(in + i, n) / divisor, n); });
  });
}

}  // namespace vivace::VIVACE_ISA
