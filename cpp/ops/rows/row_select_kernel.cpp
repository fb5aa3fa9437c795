// Body of row_select, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/rows/row_select.h"

#include <cstring>

#include "ops/row_pieces.h"

namespace vivace::VIVACE_ISA {

void row_select(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &indices = run.inputs[1], &y = run.outputs[0];
  for_row_pieces(y, team, [&](int64_t row, int64_t from, int64_t count) {
    const int32_t source = *indices.row<const int32_t>(row);
    std::memcpy(y.row<float>(row) + from, x.row<const float>(source) + from,
                sizeof(float) * static_cast<size_t>(count));
  });
}

}  // namespace vivace::VIVACE_ISA
