// Bodies of linear, gated_linear, expert_gate_up, expert_down and pack_panels, compiled once per instruction-set level;
// VIVACE_ISA is the level's namespace.
//
// Work is shared in units of a few weight rows and a block of batch rows whose activations stay in the second-level
// cache. Decode is the same code with one small block: weights stream through once. Weights of floats are here, the
// families of quantised types in files of their own.
#include "ops/experts/expert_down.h"
#include "ops/experts/expert_gate_up.h"
#include "ops/fused/gated_linear.h"
#include "ops/linear/families/bodies.h"
#include "ops/linear/families/float_sums.h"
#include "ops/linear/linear.h"
#include "ops/row_scaled/row_scaled.h"

namespace vivace::VIVACE_ISA {
namespace {

template <class Weight>
void float_linear(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1];
  for_units(run, team, weight_tile, block_of_rows(x.stride, row_block), [&](int64_t n, int64_t first, int64_t rows) {
    const int64_t count = smaller(weight_tile, weight.rows - n);
    const std::byte* next = weight.data + (n + weight_tile) * weight.stride;
    multiply_tile<Weight>(x, weight, n, next, {first, rows},
                          [&](int64_t row, const float* sums) { finish(run, first + row, n, count, sums); });
  });
}

template <class Weight>
constexpr LinearBodies float_bodies() {
  using Sums = FloatSums<Weight>;
  return {float_linear<Weight>, gated_with<Sums>, nullptr, expert_gate_up_with<Sums>, expert_down_with<Sums>};
}

LinearBodies find_bodies(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return float_bodies<WeightF32>();
    case DType::F16:
      return float_bodies<WeightF16>();
    case DType::BF16:
      return float_bodies<WeightBF16>();
    case DType::W8A16:
    case DType::W8A16_G32:
    case DType::W8A16_G64:
    case DType::W8A16_G128:
    case DType::W4A16:
    case DType::W4A16_G32:
    case DType::W4A16_G64:
    case DType::W4A16_G128:
    case DType::W8A8:
    case DType::W4A8:
    case DType::W4A8_G128:
      return {row_scaled_linear, nullptr, nullptr, nullptr, nullptr};
    default:
      break;
  }
  for (const auto family : {bodies_of_4_bits, bodies_of_5_and_8_bits, bodies_of_k_4_and_5, bodies_of_k_2_3_and_6})
    if (const LinearBodies bodies = family(dtype); bodies.linear != nullptr) return bodies;
  return {};  // no weight: refused by check()
}

}  // namespace

void linear(const OpRun& run, Team& team) {
  find_bodies(run.inputs[1].dtype).linear(run, team);
}

void gated_linear(const OpRun& run, Team& team) {
  find_bodies(run.inputs[1].dtype).gated(run, team);
}

void expert_gate_up(const OpRun& run, Team& team) {
  find_bodies(run.inputs[1].dtype).expert_gate_up(run, team);
}

void expert_down(const OpRun& run, Team& team) {
  find_bodies(run.inputs[1].dtype).expert_down(run, team);
}

void pack_panels(const OpRun& run, Team& team) {
  if (const Kernel pack = find_bodies(run.inputs[0].dtype).pack) pack(run, team);
}

}  // namespace vivace::VIVACE_ISA
