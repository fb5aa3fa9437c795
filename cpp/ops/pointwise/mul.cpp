// Table row and checks of mul.
#include "ops/pointwise/mul.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &a = shapes.inputs[0], &b = shapes.inputs[1], &y = shapes.outputs[0];
  require(a.dtype == DType::F32 && b.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH", "mul wants F32");
  require(a.columns == b.columns && a.columns == y.columns && a.rows == y.rows && (b.rows == a.rows || b.rows == 1),
          "SHAPE_MISMATCH", "mul: shapes differ");
}

}  // namespace

const OpInfo mul_op = {"mul", 2, 2, 1, nullptr, 0, true, check, nullptr, VIVACE_KERNELS(mul)};

}  // namespace vivace
