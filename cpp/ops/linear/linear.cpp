// Table row and checks of linear.
#include "ops/linear/linear.h"

#include "ops/row_scaled/quantize_tokens.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &weight = shapes.inputs[1], &bias = shapes.inputs[2];
  const Tensor &residual = shapes.inputs[3], &y = shapes.outputs[0];
  const DTypeInfo* info = find_dtype(weight.dtype);
  require(is_weight(weight.dtype), "DTYPE_MISMATCH", "linear: the weight's type is no weight format");
  require(x.dtype == activations_for(weight.dtype), "DTYPE_MISMATCH",
          "linear: x is A8 or A8_TOKEN for quantised weights, else F32");
  require(!info->per_token || weight.columns <= most_token_columns, "SHAPE_MISMATCH",
          "linear: sums of products of 8-bit numbers need at most 65536 columns");
  require(y.dtype == DType::F32, "DTYPE_MISMATCH", "linear: y is F32");
  require(x.columns == weight.columns && y.columns == weight.rows && x.rows == y.rows, "SHAPE_MISMATCH",
          "linear: x is [rows, in], weight [out, in], y [rows, out]");
  require(weight.columns % info->block == 0, "SHAPE_MISMATCH", "linear: rows of weight are no whole blocks");
  const bool has_bias = shapes.input_count > 2 && bias.columns != 0;
  require(!has_bias || (bias.dtype == DType::F32 && bias.rows == 1 && bias.columns == y.columns), "SHAPE_MISMATCH",
          "linear: bias is F32 [1, out]");
  const bool has_residual = shapes.input_count > 3 && residual.columns != 0;
  require(!has_residual || (residual.dtype == DType::F32 && residual.rows == y.rows && residual.columns == y.columns),
          "SHAPE_MISMATCH", "linear: residual is F32 [rows, out]");
}

}  // namespace

const OpInfo linear_op = {"linear", 2, 4, 1, nullptr, 0, false, check, nullptr, VIVACE_KERNELS(linear)};

}  // namespace vivace
