// Table row and checks of choose_ahead.
#include "ops/offload/choose_ahead.h"

namespace vivace {
namespace {

enum { layer, heads, window };

void check(const OpShapes& shapes) {
  const Tensor& q = shapes.inputs[0];
  const double* a = shapes.attributes;
  require(q.dtype == DType::F32, "DTYPE_MISMATCH", "choose_ahead wants F32");
  require(a[layer] >= 0 && a[heads] >= 1 && a[window] >= 0, "INVALID_ARGUMENT",
          "choose_ahead: an attribute is out of range");
  require(q.columns % static_cast<int64_t>(a[heads]) == 0, "SHAPE_MISMATCH", "choose_ahead: q is not whole heads");
}

const char* const attributes[] = {"layer", "heads", "window"};

}  // namespace

const OpInfo choose_ahead_op = {
    "choose_ahead", 1, 1, 0, attributes, 3, false, check, nullptr, VIVACE_KERNELS(choose_ahead)};

}  // namespace vivace
