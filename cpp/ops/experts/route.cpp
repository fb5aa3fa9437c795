// Table row and checks of route.
#include "ops/experts/route.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &logits = shapes.inputs[0], &bias = shapes.inputs[1];
  const Tensor &ids = shapes.outputs[0], &weights = shapes.outputs[1];
  require(logits.dtype == DType::F32 && ids.dtype == DType::I32 && weights.dtype == DType::F32, "DTYPE_MISMATCH",
          "route makes I32 ids and F32 weights of F32 logits");
  const int64_t experts = logits.columns;
  const double* a = shapes.attributes;
  const auto within = [](double value, double least, double most) {
    return value >= least && value <= most && value == static_cast<double>(static_cast<int64_t>(value));
  };
  require(experts <= most_experts, "SHAPE_MISMATCH", "route: at most 1024 experts");
  require(within(a[0], 1, static_cast<double>(experts)) && within(a[1], 0, 1) && within(a[2], 0, 1) &&
              within(a[4], 1, static_cast<double>(experts)) && within(a[5], 1, a[4]) && within(a[6], 0, 1),
          "INVALID_ARGUMENT", "route: an attribute is out of range");
  const auto used = static_cast<int64_t>(a[0]), groups = static_cast<int64_t>(a[4]);
  require(experts % groups == 0 && used <= experts / groups * static_cast<int64_t>(a[5]), "INVALID_ARGUMENT",
          "route: groups are of equal size, and those that are used hold enough experts");
  require(ids.rows == logits.rows && weights.rows == logits.rows && ids.columns == used && weights.columns == used,
          "SHAPE_MISMATCH", "route: ids and weights are [rows, used]");
  const bool has_bias = shapes.input_count > 1 && bias.columns != 0;
  require(!has_bias || (bias.dtype == DType::F32 && bias.rows == 1 && bias.columns == experts), "SHAPE_MISMATCH",
          "route: bias is F32 [1, experts]");
}

const char* const attributes[] = {"used", "scoring", "normalise", "scale", "groups", "groups_used", "group_score"};

}  // namespace

const OpInfo route_op = {"route", 1, 2, 2, attributes, 7, false, check, nullptr, VIVACE_KERNELS(route)};

}  // namespace vivace
