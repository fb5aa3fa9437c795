// Table row and checks of scale.
#include "ops/pointwise/scale.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &y = shapes.outputs[0];
  require(x.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH", "scale wants F32");
  require(x.rows == y.rows && x.columns == y.columns, "SHAPE_MISMATCH", "scale: shapes differ");
}

const char* const attributes[] = {"factor"};

}  // namespace

const OpInfo scale_op = {"scale", 1, 1, 1, attributes, 1, true, check, nullptr, VIVACE_KERNELS(scale)};

}  // namespace vivace
