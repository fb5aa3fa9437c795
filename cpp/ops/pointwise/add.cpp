// Table row and checks of add.
#include "ops/pointwise/add.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &a = shapes.inputs[0], &b = shapes.inputs[1], &y = shapes.outputs[0];
  require(a.dtype == DType::F32 && b.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH", "add wants F32");
  require(a.columns == b.columns && a.columns == y.columns && a.rows == y.rows && (b.rows == a.rows || b.rows == 1),
          "SHAPE_MISMATCH", "add: shapes differ");
}

}  // namespace

const OpInfo add_op = {"add", 2, 2, 1, nullptr, 0, true, check, nullptr, VIVACE_KERNELS(add)};

}  // namespace vivace
