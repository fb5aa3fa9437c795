// expert_gate_up: see cpp/ops/experts/expert_gate_up.h. One launch over the chosen experts, both products and the
// activation; sorting comes before where there are many pairs.
#include "ops/experts/expert_gate_up.h"

#include "cuda/ops/elementwise.h"
#include "cuda/ops/experts/arguments.h"
#include "cuda/quant/fragments.h"

namespace vivace::cuda {

void quantize_rows(const DeviceRun&);

namespace {

// Kernels that make floats, where A8 is wanted: what they make is quantised by a launch of its own.
bool quantises_after(const Tensor& gate, int64_t experts, const Tensor& y) {
  return y.dtype == DType::A8 && !expert_fragments(gate.dtype, gate.rows, experts, gate.columns);
}

}  // namespace

size_t expert_gate_up_memory(const OpShapes& shapes, const DeviceProperties&) {
  const Tensor &gate = shapes.inputs[1], &ids = shapes.inputs[3], &y = shapes.outputs[0];
  const auto experts = static_cast<int64_t>(shapes.attributes[0]);
  size_t bytes = tile_bytes(expert_tiles(gate, ids, experts));
  if (quantises_after(gate, experts, y)) bytes += static_cast<size_t>(y.rows * y.columns) * 4;
  return bytes;
}

void expert_gate_up(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &gate = run.inputs[1], &up = run.inputs[2], &ids = run.inputs[3];
  const Tensor& y = run.outputs[0];
  const auto experts = static_cast<int64_t>(run.attributes[0]);
  if (gate.panels != up.panels) throw Error("INTERNAL", "expert_gate_up: gate and up lie in different orders");
  ExpertProducts products = expert_products(gate, ids, experts);
  products.up = values_of<const uint8_t>(up);
  products.x = values_of<const uint8_t>(x);
  products.x_stride = x.stride;
  products.x_pairs = static_cast<int>(ids.columns);
  products.gelu = run.attributes[1] != 0;
  const bool quantises = quantises_after(gate, experts, y);
  if (y.dtype == DType::A8 && !quantises)
    products.codes = values_of<A8Block>(y);
  else if (y.dtype == DType::F32)
    products.y = values_of<float>(y);
  else
    products.y = reinterpret_cast<float*>(run.scratch + tile_bytes(products.tiles));
  multiply_pairs(products, gate.panels, x.dtype == DType::A8, run);
  if (!quantises) return;
  DeviceRun after = run;
  after.inputs[0] = Tensor{DType::F32, y.rows, y.columns, y.columns * 4, reinterpret_cast<std::byte*>(products.y)};
  quantize_rows(after);
}

}  // namespace vivace::cuda
