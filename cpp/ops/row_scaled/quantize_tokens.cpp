// Table row and checks of quantize_tokens.
#include "ops/row_scaled/quantize_tokens.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &y = shapes.outputs[0];
  require(x.dtype == DType::F32 && y.dtype == DType::A8_TOKEN, "DTYPE_MISMATCH",
          "quantize_tokens makes A8_TOKEN of F32");
  require(x.rows == y.rows && x.columns == y.columns, "SHAPE_MISMATCH", "quantize_tokens: shapes differ");
  require(x.columns <= most_token_columns, "SHAPE_MISMATCH", "quantize_tokens: at most 65536 columns");
}

}  // namespace

const OpInfo quantize_tokens_op = {
    "quantize_tokens", 1, 1, 1, nullptr, 0, false, check, nullptr, VIVACE_KERNELS(quantize_tokens)};

}  // namespace vivace
