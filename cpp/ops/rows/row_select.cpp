// Table row and checks of row_select.
#include "ops/rows/row_select.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &indices = shapes.inputs[1], &y = shapes.outputs[0];
  require(x.dtype == DType::F32 && indices.dtype == DType::I32 && y.dtype == DType::F32, "DTYPE_MISMATCH",
          "row_select wants F32 rows and I32 indices");
  require(x.columns == y.columns && indices.columns == 1 && indices.rows == y.rows, "SHAPE_MISMATCH",
          "row_select: shapes differ");
}

}  // namespace

const OpInfo row_select_op = {"row_select", 2, 2, 1, nullptr, 0, false, check, nullptr, VIVACE_KERNELS(row_select)};

}  // namespace vivace
