// Table row and checks of attention.
#include "ops/attention/attention.h"

namespace vivace {
namespace {

enum { layer, heads, value_dim, scale, softcap, window };

void check(const OpShapes& shapes) {
  const Tensor &q = shapes.inputs[0], &y = shapes.outputs[0];
  const double* a = shapes.attributes;
  require(q.dtype == DType::F32 && y.dtype == DType::F32, "DTYPE_MISMATCH", "attention wants F32");
  require(a[layer] >= 0 && a[heads] >= 1 && a[value_dim] >= 1 && a[softcap] >= 0 && a[window] >= 0, "INVALID_ARGUMENT",
          "attention: an attribute is out of range");
  const int64_t count = static_cast<int64_t>(a[heads]);
  require(q.columns % count == 0 && q.rows == y.rows && y.columns == count * static_cast<int64_t>(a[value_dim]),
          "SHAPE_MISMATCH", "attention: shapes differ");
}

size_t scratch(const OpShapes& shapes) {
  const int64_t count = static_cast<int64_t>(shapes.attributes[heads]);
  const AttentionScratch parts(shapes.inputs[0].rows, count, shapes.inputs[0].columns / count,
                               static_cast<int64_t>(shapes.attributes[value_dim]), shapes.threads);
  return static_cast<size_t>(parts.total) * sizeof(float);
}

const char* const attributes[] = {"layer", "heads", "value_dim", "scale", "softcap", "window"};

}  // namespace

const OpInfo attention_op = {"attention", 1, 1, 1, attributes, 6, false, check, scratch, VIVACE_KERNELS(attention)};

}  // namespace vivace
