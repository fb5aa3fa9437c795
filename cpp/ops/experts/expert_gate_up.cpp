// Table row and checks of expert_gate_up.
#include "ops/experts/expert_gate_up.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &gate = shapes.inputs[1], &up = shapes.inputs[2], &ids = shapes.inputs[3];
  const Tensor& y = shapes.outputs[0];
  require(gate.dtype == up.dtype && has_expert_kernels(gate.dtype), "DTYPE_MISMATCH",
          "expert_gate_up: weights are of one type, of floats or of GGUF's quantised ones");
  require(x.dtype == activations_for(gate.dtype), "DTYPE_MISMATCH",
          "expert_gate_up: x is A8 for quantised weights, else F32");
  require(ids.dtype == DType::I32 && (y.dtype == DType::F32 || y.dtype == DType::A8), "DTYPE_MISMATCH",
          "expert_gate_up: ids are I32, and it makes F32 or A8");
  const auto experts = static_cast<int64_t>(shapes.attributes[0]);
  require(experts >= 1 && static_cast<double>(experts) == shapes.attributes[0] && gate.rows % experts == 0,
          "SHAPE_MISMATCH", "expert_gate_up: weights are [experts · columns, in]");
  require(x.columns == gate.columns && x.columns == up.columns && gate.rows == up.rows && ids.rows == x.rows &&
              y.rows == x.rows && y.columns == ids.columns * (gate.rows / experts),
          "SHAPE_MISMATCH", "expert_gate_up: x is [rows, in], ids [rows, used], y [rows, used · columns]");
  require(gate.columns % find_dtype(gate.dtype)->block == 0 && (y.dtype == DType::F32 || gate.rows / experts % 32 == 0),
          "SHAPE_MISMATCH", "expert_gate_up: rows are no whole blocks");
  require(shapes.attributes[1] == 0 || shapes.attributes[1] == 1, "INVALID_ARGUMENT",
          "expert_gate_up: unknown activation");
}

size_t scratch(const OpShapes& shapes) {
  return static_cast<size_t>(shapes.threads *
                             ExpertPairs::bytes(shapes.inputs[3], static_cast<int64_t>(shapes.attributes[0])));
}

const char* const attributes[] = {"experts", "activation"};

}  // namespace

const OpInfo expert_gate_up_op = {
    "expert_gate_up", 4, 4, 1, attributes, 2, false, check, scratch, VIVACE_KERNELS(expert_gate_up)};

}  // namespace vivace
