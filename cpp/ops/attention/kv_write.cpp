// Table row and checks of kv_write.
#include "ops/attention/kv_write.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &k = shapes.inputs[0], &v = shapes.inputs[1];
  require(k.dtype == DType::F32 && v.dtype == DType::F32, "DTYPE_MISMATCH", "kv_write wants F32");
  require(k.rows == v.rows, "SHAPE_MISMATCH", "kv_write: k and v differ in rows");
  require(shapes.attributes[0] >= 0, "INVALID_ARGUMENT", "kv_write: layer must not be negative");
}

const char* const attributes[] = {"layer"};

}  // namespace

const OpInfo kv_write_op = {"kv_write", 2, 2, 0, attributes, 1, false, check, nullptr, VIVACE_KERNELS(kv_write)};

}  // namespace vivace
