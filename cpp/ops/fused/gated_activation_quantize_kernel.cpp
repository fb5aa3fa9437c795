// Body of gated_activation_quantize, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/fused/gated_activation_quantize.h"

#include "ops/activations.h"
#include "ops/linear/quantize_block.h"

namespace vivace::VIVACE_ISA {
namespace {

template <class Activation>
void gate_with(Activation activation, const OpRun& run, Team& team) {
  const Tensor &gate = run.inputs[0], &up = run.inputs[1], &y = run.outputs[0];
  const int64_t blocks = y.columns / 32;
  int64_t begin, end;
  team.range(y.rows * blocks, 8, begin, end);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t row = i / blocks, from = i % blocks * 32;
    const float *left = gate.row<const float>(row) + from, *right = up.row<const float>(row) + from;
    alignas(64) float values[32];
    for (int k = 0; k < 32; k += F32::lanes) store(values + k, activation(load(left + k)) * load(right + k));
    quantize_block(values, y.row<A8Block>(row)[i % blocks]);
  }
}

}  // namespace

void gated_activation_quantize(const OpRun& run, Team& team) {
  if (run.attributes[0] == 0)
    gate_with([](F32 x) { return silu(x); }, run, team);
  else
    gate_with([](F32 x) { return gelu_tanh(x); }, run, team);
}

}  // namespace vivace::VIVACE_ISA
