// Table row and checks of expert_down.
#include "ops/experts/expert_down.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &x = shapes.inputs[0], &weight = shapes.inputs[1], &ids = shapes.inputs[2];
  const Tensor &weights = shapes.inputs[3], &residual = shapes.inputs[4], &y = shapes.outputs[0];
  require(has_expert_kernels(weight.dtype), "DTYPE_MISMATCH",
          "expert_down: the weight is of floats or of one of GGUF's quantised types");
  require(x.dtype == activations_for(weight.dtype), "DTYPE_MISMATCH",
          "expert_down: x is A8 for quantised weights, else F32");
  require(ids.dtype == DType::I32 && weights.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH",
          "expert_down: ids are I32, weights and y F32");
  const auto experts = static_cast<int64_t>(shapes.attributes[0]);
  require(experts >= 1 && static_cast<double>(experts) == shapes.attributes[0] && weight.rows == experts * y.columns,
          "SHAPE_MISMATCH", "expert_down: the weight is [experts · out, in]");
  require(x.columns == ids.columns * weight.columns && weights.columns == ids.columns && ids.rows == x.rows &&
              weights.rows == x.rows && y.rows == x.rows,
          "SHAPE_MISMATCH", "expert_down: x is [rows, used · in], ids and weights [rows, used], y [rows, out]");
  require(weight.columns % find_dtype(weight.dtype)->block == 0 && (x.dtype == DType::F32 || weight.columns % 32 == 0),
          "SHAPE_MISMATCH", "expert_down: rows are no whole blocks");
  const bool has_residual = shapes.input_count > 4 && residual.columns != 0;
  require(!has_residual || (residual.dtype == DType::F32 && residual.rows == y.rows && residual.columns == y.columns),
          "SHAPE_MISMATCH", "expert_down: residual is F32 [rows, out]");
}

size_t scratch(const OpShapes& shapes) {
  const Tensor& ids = shapes.inputs[2];
  return static_cast<size_t>(expert_products_bytes(ids, shapes.outputs[0]) +
                             shapes.threads * ExpertPairs::bytes(ids, static_cast<int64_t>(shapes.attributes[0])));
}

const char* const attributes[] = {"experts"};

}  // namespace

const OpInfo expert_down_op = {
    "expert_down", 4, 5, 1, attributes, 1, false, check, scratch, VIVACE_KERNELS(expert_down)};

}  // namespace vivace
