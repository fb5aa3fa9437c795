// Body of concat, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include <algorithm>
#include <cstring>

#include "ops/row_pieces.h"
#include "ops/rows/concat.h"

namespace vivace::VIVACE_ISA {

void concat(const OpRun& run, Team& team) {
  const Tensor &a = run.inputs[0], &b = run.inputs[1], &y = run.outputs[0];
  for_row_pieces(y, team, [&](int64_t row, int64_t from, int64_t count) {
    float* out = y.row<float>(row) + from;
    const int64_t left = std::clamp<int64_t>(a.columns - from, 0, count);
    if (left > 0) std::memcpy(out, a.row<const float>(row) + from, static_cast<size_t>(left) * sizeof(float));
    if (left < count)
      std::memcpy(out + left, b.row<const float>(row) + from + left - a.columns,
                  static_cast<size_t>(count - left) * sizeof(float));
  });
}

}  // namespace vivace::VIVACE_ISA
