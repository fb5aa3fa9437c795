// Body of column_select, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/rows/column_select.h"

#include "ops/row_pieces.h"

namespace vivace::VIVACE_ISA {

void column_select(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &indices = run.inputs[1], &y = run.outputs[0];
  for_row_pieces(y, team, [&](int64_t row, int64_t from, int64_t count) {
    const float* source = x.row<const float>(row);
    const int32_t* wanted = indices.row<const int32_t>(0) + from;
    float* out = y.row<float>(row) + from;
    for (int64_t i = 0; i < count; ++i) {
      const int32_t column = wanted[i];
      out[i] = column >= 0 && column < x.columns ? source[column] : 0.0f;
    }
  });
}

}  // namespace vivace::VIVACE_ISA
