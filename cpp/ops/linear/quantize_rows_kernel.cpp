// Body of quantize_rows, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/linear/quantize_rows.h"

#include "ops/linear/quantize_block.h"

namespace vivace::VIVACE_ISA {

void quantize_rows(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &y = run.outputs[0];
  const int64_t blocks = x.columns / 32;
  int64_t begin, end;
  team.range(x.rows * blocks, 8, begin, end);
  for (int64_t i = begin; i < end; ++i)
    quantize_block(x.row<const float>(i / blocks) + i % blocks * 32, y.row<A8Block>(i / blocks)[i % blocks]);
}

}  // namespace vivace::VIVACE_ISA
