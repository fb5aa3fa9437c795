// Table row and checks of rms_norm.
#include "ops/norm/rms_norm.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &weight = shapes.inputs[1], &y = shapes.outputs[0];
  require(x.dtype == DType::F32 && weight.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH",
          "rms_norm wants F32");
  require(x.rows == y.rows && x.columns == y.columns && weight.rows == 1 && weight.columns > 0 &&
              x.columns % weight.columns == 0,
          "SHAPE_MISMATCH", "rms_norm: shapes differ");
}

const char* const attributes[] = {"epsilon"};

}  // namespace

const OpInfo rms_norm_op = {"rms_norm", 2, 2, 1, attributes, 1, true, check, nullptr, VIVACE_KERNELS(rms_norm)};

}  // namespace vivace
