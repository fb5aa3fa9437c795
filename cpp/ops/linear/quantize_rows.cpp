// Table row and checks of quantize_rows.
#include "ops/linear/quantize_rows.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &y = shapes.outputs[0];
  require(x.dtype == DType::F32 && y.dtype == DType::A8, "DTYPE_MISMATCH", "quantize_rows makes A8 of F32");
  require(x.rows == y.rows && x.columns == y.columns, "SHAPE_MISMATCH", "quantize_rows: shapes differ");
  require(x.columns % 32 == 0, "SHAPE_MISMATCH", "quantize_rows: columns must be a multiple of 32");
}

}  // namespace

const OpInfo quantize_rows_op = {
    "quantize_rows", 1, 1, 1, nullptr, 0, false, check, nullptr, VIVACE_KERNELS(quantize_rows)};

}  // namespace vivace
