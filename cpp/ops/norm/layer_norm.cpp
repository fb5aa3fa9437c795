// Table row and checks of layer_norm.
#include "ops/norm/layer_norm.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &weight = shapes.inputs[1], &bias = shapes.inputs[2], &y = shapes.outputs[0];
  require(x.dtype == DType::F32 && weight.dtype == DType::F32 && y.dtype == DType::F32 &&
              (bias.columns == 0 || bias.dtype == DType::F32),
          "DTYPE_MISMATCH", "layer_norm wants F32");
  require(x.rows == y.rows && x.columns == y.columns && weight.rows == 1 && weight.columns > 0 &&
              x.columns % weight.columns == 0 &&
              (bias.columns == 0 || (bias.rows == 1 && bias.columns == weight.columns)),
          "SHAPE_MISMATCH", "layer_norm: shapes differ");
}

const char* const attributes[] = {"epsilon"};

}  // namespace

const OpInfo layer_norm_op = {"layer_norm", 2, 3, 1, attributes, 1, true, check, nullptr, VIVACE_KERNELS(layer_norm)};

}  // namespace vivace
