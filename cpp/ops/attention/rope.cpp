// Table row and checks of rope.
#include "ops/attention/rope.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &table = shapes.inputs[1], &y = shapes.outputs[0];
  const int64_t heads = static_cast<int64_t>(shapes.attributes[0]);
  require(x.dtype == DType::F32 && table.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH",
          "rope wants F32");
  require(heads > 0 && x.columns % heads == 0 && x.rows == y.rows && x.columns == y.columns && table.rows == x.rows &&
              table.columns % 2 == 0 && table.columns <= x.columns / heads,
          "SHAPE_MISMATCH", "rope: shapes differ");
  require(shapes.attributes[1] == 0 || shapes.attributes[1] == 1, "INVALID_ARGUMENT", "rope: unknown layout");
}

size_t scratch(const OpShapes& shapes) {
  return static_cast<size_t>(shapes.inputs[1].columns / 2 * shapes.threads) * sizeof(float);
}

const char* const attributes[] = {"heads", "layout"};

}  // namespace

const OpInfo rope_op = {"rope", 2, 2, 1, attributes, 2, true, check, scratch, VIVACE_KERNELS(rope)};

}  // namespace vivace
