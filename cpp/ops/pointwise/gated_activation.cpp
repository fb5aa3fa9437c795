// Table row and checks of gated_activation.
#include "ops/pointwise/gated_activation.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &gate = shapes.inputs[0], &up = shapes.inputs[1], &y = shapes.outputs[0];
  require(gate.dtype == DType::F32 && up.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH",
          "gated_activation wants F32");
  require(gate.rows == y.rows && up.rows == y.rows && gate.columns == y.columns && up.columns == y.columns,
          "SHAPE_MISMATCH", "gated_activation: shapes differ");
  require(shapes.attributes[0] == 0 || shapes.attributes[0] == 1, "INVALID_ARGUMENT",
          "gated_activation: unknown activation");
}

const char* const attributes[] = {"activation"};

}  // namespace

const OpInfo gated_activation_op = {
    "gated_activation", 2, 2, 1, attributes, 1, true, check, nullptr, VIVACE_KERNELS(gated_activation)};

}  // namespace vivace
