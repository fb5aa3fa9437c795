// Table row and checks of log_softmax.
#include "ops/norm/log_softmax.h"

#include "ops/norm/softmax_pieces.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &y = shapes.outputs[0];
  require(x.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH", "log_softmax wants F32");
  require(x.rows == y.rows && x.columns == y.columns, "SHAPE_MISMATCH", "log_softmax: shapes differ");
}

size_t scratch(const OpShapes& shapes) {
  return softmax_scratch(shapes.inputs[0]);
}

}  // namespace

const OpInfo log_softmax_op = {"log_softmax", 1, 1, 1, nullptr, 0, true, check, scratch, VIVACE_KERNELS(log_softmax)};

}  // namespace vivace
