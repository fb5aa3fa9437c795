// Table row and checks of gated_activation_quantize.
#include "ops/fused/gated_activation_quantize.h"

#include "ops/row_scaled/quantize_tokens.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &gate = shapes.inputs[0], &up = shapes.inputs[1], &y = shapes.outputs[0];
  require(gate.dtype == DType::F32 && up.dtype == DType::F32 && (y.dtype == DType::A8 || y.dtype == DType::A8_TOKEN),
          "DTYPE_MISMATCH", "gated_activation_quantize makes A8 or A8_TOKEN of F32");
  require(gate.rows == y.rows && up.rows == y.rows && gate.columns == y.columns && up.columns == y.columns &&
              (y.dtype == DType::A8 ? y.columns % 32 == 0 : y.columns <= most_token_columns),
          "SHAPE_MISMATCH", "gated_activation_quantize: shapes differ");
  require(shapes.attributes[0] == 0 || shapes.attributes[0] == 1, "INVALID_ARGUMENT",
          "gated_activation_quantize: unknown activation");
}

const char* const attributes[] = {"activation"};

}  // namespace

const OpInfo gated_activation_quantize_op = {"gated_activation_quantize",
                                             2,
                                             2,
                                             1,
                                             attributes,
                                             1,
                                             false,
                                             check,
                                             nullptr,
                                             VIVACE_KERNELS(gated_activation_quantize)};

}  // namespace vivace
