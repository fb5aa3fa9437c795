// Body of gated_activation, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/pointwise/gated_activation.h"

#include "ops/activations.h"
#include "ops/row_pieces.h"

namespace vivace::VIVACE_ISA {
namespace {

template <class Activation>
void gate_with(Activation activation, const OpRun& run, Team& team) {
  const Tensor &gate = run.inputs[0], &up = run.inputs[1], &y = run.outputs[0];
  for_row_pieces(y, team, [&](int64_t row, int64_t from, int64_t count) {
    const float* left = gate.row<const float>(row) + from;
    const float* right = up.row<const float>(row) + from;
    float* out = y.row<float>(row) + from;
    for_lanes(count, [&](int64_t i, int n) {
      store_some(out + i, activation(load_some(left + i, n)) * load_some(right + i, n), n);
    });
  });
}

}  // namespace

void gated_activation(const OpRun& run, Team& team) {
  if (run.attributes[0] == 0)
    gate_with([](F32 x) { return silu(x); }, run, team);
  else
    gate_with([](F32 x) { return gelu_tanh(x); }, run, team);
}

}  // namespace vivace::VIVACE_ISA
