// expert_down: see cpp/ops/experts/expert_down.h. One launch where rows are few; else products of all pairs, and their
// weighted sums in the order of slots. The same bits either way.
#include "ops/experts/expert_down.h"

#include "cuda/ops/elementwise.h"
#include "cuda/ops/experts/arguments.h"
#include "cuda/quant/fragments.h"

namespace vivace::cuda {
namespace {

__global__ void add_products(const float* products, PairTiles tiles, const float* weights, const float* residual,
                             float* y, int64_t count, int64_t out, int used) {
  for_each_value(count, [&](int64_t i) {
    const int64_t first = i / out * used, n = i % out;
    float sum = 0;
    for (int64_t pair = first; pair < first + used; ++pair)
      if (tiles.expert_of(static_cast<int>(pair)) < tiles.experts)
        sum = fmaf(weights[pair], products[pair * out + n], sum);
    y[i] = residual != nullptr ? sum + residual[i] : sum;
  });
}

// Where rows choose few experts in common, who reads each row's own reads little twice.
bool adds_at_once(const Tensor& weight, const Tensor& ids, int64_t experts) {
  const int64_t pairs = ids.rows * ids.columns;
  return expert_fragments(weight.dtype, weight.rows, experts, weight.columns) &&
         (ids.rows == 1 || (pairs <= experts && pairs <= unsorted_pairs));
}

}  // namespace

size_t expert_down_memory(const OpShapes& shapes, const DeviceProperties&) {
  const Tensor &weight = shapes.inputs[1], &ids = shapes.inputs[2], &y = shapes.outputs[0];
  const auto experts = static_cast<int64_t>(shapes.attributes[0]);
  if (adds_at_once(weight, ids, experts)) return 0;
  return tile_bytes(expert_tiles(weight, ids, experts)) + static_cast<size_t>(ids.rows * ids.columns * y.columns) * 4;
}

void expert_down(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1], &ids = run.inputs[2], &weights = run.inputs[3];
  const Tensor& y = run.outputs[0];
  const auto* residual = values_of<const float>(run.inputs[4]);
  const auto experts = static_cast<int64_t>(run.attributes[0]);
  const int used = static_cast<int>(ids.columns);
  ExpertProducts products = expert_products(weight, ids, experts);
  products.x = values_of<const uint8_t>(x);
  products.x_stride = x.stride / used;
  if (weight.panels && adds_at_once(weight, ids, experts))
    return run_expert_sums(
        {weight.dtype, products.weight, products.expert_bytes, products.x, products.x_stride,
         values_of<const int32_t>(ids), values_of<const float>(weights), residual, values_of<float>(y),
         static_cast<int>(y.rows), used, static_cast<int>(experts), products.out, products.columns},
        run.stream);
  products.y = reinterpret_cast<float*>(run.scratch + tile_bytes(products.tiles));
  multiply_pairs(products, weight.panels, x.dtype == DType::A8, run);
  const int64_t count = y.rows * y.columns;
  launch<add_products>(elementwise(count, run), static_cast<const float*>(products.y), products.tiles,
                       values_of<const float>(weights), residual, values_of<float>(y), count, y.columns, used);
}

}  // namespace vivace::cuda
