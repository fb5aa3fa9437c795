// Table row and checks of column_select.
#include "ops/rows/column_select.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &indices = shapes.inputs[1], &y = shapes.outputs[0];
  require(x.dtype == DType::F32 && indices.dtype == DType::I32 && y.dtype == DType::F32, "DTYPE_MISMATCH",
          "column_select wants F32 rows and I32 indices");
  require(x.rows == y.rows && indices.rows == 1 && indices.columns == y.columns, "SHAPE_MISMATCH",
          "column_select: shapes differ");
}

}  // namespace

const OpInfo column_select_op = {
    "column_select", 2, 2, 1, nullptr, 0, false, check, nullptr, VIVACE_KERNELS(column_select)};

}  // namespace vivace
