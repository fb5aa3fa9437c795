// Table row and checks of concat.
#include "ops/rows/concat.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &a = shapes.inputs[0], &b = shapes.inputs[1], &y = shapes.outputs[0];
  require(a.dtype == DType::F32 && b.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH",
          "concat wants F32 rows");
  require(a.rows == y.rows && b.rows == y.rows && a.columns + b.columns == y.columns, "SHAPE_MISMATCH",
          "concat: shapes differ");
}

}  // namespace

const OpInfo concat_op = {"concat", 2, 2, 1, nullptr, 0, false, check, nullptr, VIVACE_KERNELS(concat)};

}  // namespace vivace
