// Body of rope_table, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include <math.h>

#include "ops/attention/rope_table.h"

namespace vivace::VIVACE_ISA {

void rope_table(const OpRun& run, Team& team) {
  const Tensor &positions = run.inputs[0], &frequencies = run.inputs[1], &table = run.outputs[0];
  const int64_t half = frequencies.columns;
  const float* f = frequencies.row<const float>(0);
  const double magnitude = run.attributes[0];
  int64_t begin, end;
  team.range(table.rows * half, 16, begin, end);
  for (int64_t index = begin; index < end; ++index) {
    const int64_t row = index / half, i = index % half;
    const double angle = static_cast<double>(*positions.row<const int32_t>(row)) * static_cast<double>(f[i]);
    float* out = table.row<float>(row);
    out[i] = static_cast<float>(magnitude * ::cos(angle));
    out[half + i] = static_cast<float>(magnitude * ::sin(angle));
  }
}

}  // namespace vivace::VIVACE_ISA
