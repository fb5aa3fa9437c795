// Table row and checks of gated_linear.
#include "ops/fused/gated_linear.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &gate = shapes.inputs[1], &up = shapes.inputs[2], &y = shapes.outputs[0];
  require(
      gate.dtype == up.dtype && (has_gated_linear(gate.dtype) || has_gated_linear_on_card(gate.dtype, gate.columns)),
      "DTYPE_MISMATCH", "gated_linear: weights are of one type, and there is a kernel for it");
  require(x.dtype == activations_for(gate.dtype), "DTYPE_MISMATCH",
          "gated_linear: x is A8 for quantised weights, else F32");
  require(y.dtype == DType::F32 || y.dtype == DType::A8, "DTYPE_MISMATCH", "gated_linear makes F32 or A8");
  require(x.columns == gate.columns && x.columns == up.columns && y.columns == gate.rows && y.columns == up.rows &&
              x.rows == y.rows,
          "SHAPE_MISMATCH", "gated_linear: x is [rows, in], weights [out, in], y [rows, out]");
  require(gate.columns % find_dtype(gate.dtype)->block == 0 && (y.dtype == DType::F32 || y.columns % 32 == 0),
          "SHAPE_MISMATCH", "gated_linear: rows are no whole blocks");
  require(shapes.attributes[0] == 0 || shapes.attributes[0] == 1, "INVALID_ARGUMENT",
          "gated_linear: unknown activation");
}

const char* const attributes[] = {"activation"};

}  // namespace

const OpInfo gated_linear_op = {
    "gated_linear", 3, 3, 1, attributes, 1, false, check, nullptr, VIVACE_KERNELS(gated_linear)};

}  // namespace vivace
