// Table row and checks of rms_norm_quantize.
#include "ops/fused/rms_norm_quantize.h"

#include "ops/row_scaled/quantize_tokens.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &weight = shapes.inputs[1], &y = shapes.outputs[0];
  require(x.dtype == DType::F32 && weight.dtype == DType::F32 && (y.dtype == DType::A8 || y.dtype == DType::A8_TOKEN),
          "DTYPE_MISMATCH", "rms_norm_quantize makes A8 or A8_TOKEN of F32");
  require(x.rows == y.rows && x.columns == y.columns && weight.rows == 1 && weight.columns == x.columns &&
              (y.dtype == DType::A8 ? x.columns % 32 == 0 : x.columns <= most_token_columns),
          "SHAPE_MISMATCH", "rms_norm_quantize: shapes differ");
}

const char* const attributes[] = {"epsilon"};

}  // namespace

const OpInfo rms_norm_quantize_op = {
    "rms_norm_quantize", 2, 2, 1, attributes, 1, false, check, nullptr, VIVACE_KERNELS(rms_norm_quantize)};

}  // namespace vivace
