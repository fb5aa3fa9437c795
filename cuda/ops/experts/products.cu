// How pairs of both ops of experts are cut, and which kernel serves.
#include "cuda/ops/experts/arguments.h"

#include "cuda/ops/elementwise.h"
#include "cuda/quant/fragments.h"

namespace vivace::cuda {
namespace {

bool is_float(DType dtype) {
  return dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16;
}

}  // namespace

PairTiles expert_tiles(const Tensor& weight, const Tensor& ids, int64_t experts) {
  const int64_t pairs = ids.rows * ids.columns;
  // F32 has small tiles: one pair, while each has its expert for itself.
  const int tile = weight.dtype != DType::F32 ? 0 : ids.rows == 1 ? 1 : pairs <= 4 * experts ? 4 : 8;
  // Of F16 and BF16 a tile of 64 would have no registers for its sums.
  const int most = is_float(weight.dtype) ? 32 : 64;
  return plan_tiles(static_cast<int>(pairs), static_cast<int>(experts), tile, most);
}

ExpertProducts expert_products(const Tensor& weight, const Tensor& ids, int64_t experts) {
  ExpertProducts products = {};
  products.dtype = weight.dtype;
  products.weight = values_of<const uint8_t>(weight);
  products.stride = weight.stride;
  products.out = static_cast<int>(weight.rows / experts);
  products.columns = static_cast<int>(weight.columns);
  products.expert_bytes =
      weight.panels ? fragment_bytes(weight.dtype, products.out, products.columns) : products.out * weight.stride;
  products.tiles = expert_tiles(weight, ids, experts);
  products.tiles.ids = values_of<const int32_t>(ids);
  return products;
}

void multiply_pairs(ExpertProducts& a, bool fragments, bool blocks_of_x, const DeviceRun& run) {
  const bool floats = is_float(a.dtype) && a.columns % 8 == 0;
  if (!fragments && !floats) return run_plain_experts(a, blocks_of_x, run.stream);
  sort_tiles(a.tiles, reinterpret_cast<uint8_t*>(run.scratch), run.stream);
  if (fragments)
    run_expert_fragments(a, run.stream);
  else if (a.dtype == DType::F32)
    run_float_experts(a, run.stream);
  else
    run_half_experts(a, run.stream);
}

}  // namespace vivace::cuda
