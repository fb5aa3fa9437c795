// Table row and checks of soft_cap.
#include "ops/pointwise/soft_cap.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &y = shapes.outputs[0];
  require(x.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH", "soft_cap wants F32");
  require(x.rows == y.rows && x.columns == y.columns, "SHAPE_MISMATCH", "soft_cap: shapes differ");
  require(shapes.attributes[0] > 0, "INVALID_ARGUMENT", "soft_cap: cap must be positive");
}

const char* const attributes[] = {"cap"};

}  // namespace

const OpInfo soft_cap_op = {"soft_cap", 1, 1, 1, attributes, 1, true, check, nullptr, VIVACE_KERNELS(soft_cap)};

}  // namespace vivace
