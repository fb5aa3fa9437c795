// Body of softmax, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/norm/softmax.h"

#include "ops/norm/softmax_pieces.h"

namespace vivace::VIVACE_ISA {

void softmax(const OpRun& run, Team& team) {
  softmax_rows<true>(run.inputs[0], run.outputs[0], run.scratch, team,
                     [](const float*, float* out, int64_t count, float, double total) {
                       const F32 inverse = set1(static_cast<float>(1.0 / total));
                       for_lanes(count,
                                 [&](int64_t i, int n) { store_some(out + i, load_some(out + i, n) * inverse, n); });
                     });
}

}  // namespace vivace::VIVACE_ISA
