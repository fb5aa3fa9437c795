// Table row and checks of sigmoid_gate.
#include "ops/experts/sigmoid_gate.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &gate = shapes.inputs[1], &y = shapes.outputs[0];
  require(x.dtype == DType::F32 && gate.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH",
          "sigmoid_gate wants F32");
  require(x.columns == y.columns && x.rows == y.rows && gate.rows == x.rows && gate.columns == 1, "SHAPE_MISMATCH",
          "sigmoid_gate: x is [rows, columns], gate [rows, 1]");
}

}  // namespace

const OpInfo sigmoid_gate_op = {
    "sigmoid_gate", 2, 2, 1, nullptr, 0, true, check, nullptr, VIVACE_KERNELS(sigmoid_gate)};

}  // namespace vivace
