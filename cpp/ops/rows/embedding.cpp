// Table row and checks of embedding.
#include "ops/rows/embedding.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &weight = shapes.inputs[0], &tokens = shapes.inputs[1], &y = shapes.outputs[0];
  require(is_weight(weight.dtype), "DTYPE_MISMATCH", "embedding: the weight's type is no weight format");
  require(tokens.dtype == DType::I32 && y.dtype == DType::F32, "DTYPE_MISMATCH", "embedding: tokens are I32, y is F32");
  require(tokens.columns == 1 && tokens.rows == y.rows && weight.columns == y.columns, "SHAPE_MISMATCH",
          "embedding: tokens is [rows, 1], y [rows, width]");
  require(weight.columns % find_dtype(weight.dtype)->block == 0, "SHAPE_MISMATCH",
          "embedding: rows of weight are no whole blocks");
}

const char* const attributes[] = {"scale"};

}  // namespace

const OpInfo embedding_op = {"embedding", 2, 2, 1, attributes, 1, false, check, nullptr, VIVACE_KERNELS(embedding)};

}  // namespace vivace
