// Body of log_softmax, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include <math.h>

#include "ops/norm/log_softmax.h"
#include "ops/norm/softmax_pieces.h"

namespace vivace::VIVACE_ISA {

void log_softmax(const OpRun& run, Team& team) {
  softmax_rows<false>(run.inputs[0], run.outputs[0], run.scratch, team,
                      [](const float* in, float* out, int64_t count, float largest, double total) {
                        const F32 top = set1(largest), rest = set1(static_cast<float>(::log(total)));
                        for_lanes(count,
                                  [&](int64_t i, int n) { store_some(out + i, load_some(in + i, n) - top - rest, n); });
                      });
}

}  // namespace vivace::VIVACE_ISA
