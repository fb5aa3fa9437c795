// gated_linear: see cpp/ops/fused/gated_linear.h. Made of weights that lie in fragments, so it is one launch; the bits
// of two linears and gated_activation (gated_activation_quantize).
#include "ops/fused/gated_linear.h"

#include "cuda/ops/elementwise.h"
#include "cuda/ops/linear/arguments.h"
#include "cuda/quant/fragments.h"

namespace vivace::cuda {
namespace {

#ifndef __SANITIZE_ADDRESS__  // with its sanitizers GCC 12 takes no address of a table for a constant
constexpr bool planner_knows() {
  for (const DTypeInfo& info : dtype_table)
    if (has_gated_linear_on_card(info.id, 256) != has_fragments(info.id, 256)) return false;
  return true;
}
static_assert(planner_knows(), "the planner makes this op of the types that have fragments");
#endif

}  // namespace

size_t gated_linear_memory(const OpShapes& shapes, const DeviceProperties& device) {
  const Tensor &weight = shapes.inputs[1], &y = shapes.outputs[0];
  return linear_scratch(weight.dtype, static_cast<int>(y.rows), {static_cast<int>(y.columns)},
                        static_cast<int>(weight.columns), device.multiprocessors, true);
}

void gated_linear(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &gate = run.inputs[1], &up = run.inputs[2], &y = run.outputs[0];
  LinearArguments arguments = {};
  arguments.dtype = gate.dtype;
  arguments.weight = values_of<const uint8_t>(gate);
  arguments.x = values_of<const uint8_t>(x);
  arguments.x_stride = x.stride;
  arguments.rows = static_cast<int>(y.rows);
  arguments.out = static_cast<int>(y.columns);
  arguments.columns = static_cast<int>(x.columns);
  arguments.fragments = true;
  arguments.scratch = reinterpret_cast<uint8_t*>(run.scratch);
  arguments.tickets = run.tickets;
  arguments.multiprocessors = run.device->multiprocessors;
  arguments.gating.up = values_of<const uint8_t>(up);
  arguments.gating.gelu = run.attributes[0] != 0;
  if (y.dtype == DType::A8)
    arguments.gating.y = values_of<A8Block>(y);
  else
    arguments.y = values_of<float>(y);
  if (!gate.panels || !up.panels || !fragment_linear(arguments, run.stream))
    throw Error("INTERNAL", "gated_linear: its weights are not in fragments");
}

}  // namespace vivace::cuda
