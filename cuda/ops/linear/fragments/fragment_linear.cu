// linear for weights in fragments: cuts a shape into blocks, and rounds x once where more than one tile would. For many
// rows weights are unpacked first, where choice.h says so.
#include <algorithm>
#include <cstdlib>

#include "cuda/ops/linear/fragments/products.h"
#include "cuda/ops/linear/fragments/unpacked/unpacked.h"

namespace vivace::cuda {
namespace {

constexpr int halving_warps = 8;

// A warp per row (x) and unit (y).
__global__ void halve_rows(LinearArguments a, FragmentPlan plan) {
  const int lane = static_cast<int>(threadIdx.x % 32), unit = static_cast<int>(blockIdx.y);
  const int row = static_cast<int>(blockIdx.x) * halving_warps + static_cast<int>(threadIdx.x / 32);
  const int64_t at = int64_t{unit} * gridDim.x * halving_warps + row;
  const HalvedX x = halve_x(load_x(a, row, unit));
  store_as(a.scratch + at * (2 * FragmentLayout::columns), static_cast<size_t>(8 * lane), x.values);
  if (lane == 0) store_as(a.scratch + plan.scale_offset, static_cast<size_t>(4 * at), x.scale);
}

// `gated`: strips of two matrices share a block.
FragmentPlan plan_fragments(DType dtype, int rows, const std::vector<int>& outs, int columns, int multiprocessors,
                            bool gated) {
  const bool floats = fragment_layout(dtype).bits != 0;
  FragmentPlan plan;
  plan.tiles = rows <= 8 ? 1 : rows <= 16 ? 2 : rows <= 32 ? 4 : 8;
  plan.halved = floats && rows > 8;
  const int wide = wide_block(floats ? fragment_layout(dtype).bits : block_layout(dtype).bits);
  const int units = static_cast<int>(fragment_layout(dtype).units(columns));
  plan.slices = (units + slice_units - 1) / slice_units;
  const int64_t tiles = (rows + 8 * plan.tiles - 1) / (8 * plan.tiles);
  const auto blocks = [&](int warps) {
    const int rows_each = FragmentLayout::rows * (gated ? warps / 2 : warps);
    int64_t count = 0;
    for (const int out : outs) count += tiles * ((out + rows_each - 1) / rows_each);
    return count;
  };
  // Partial sums of many rows cost more than idle multiprocessors.
  const int64_t wanted = rows <= 16 ? int64_t{2} * multiprocessors : int64_t{5} * multiprocessors / 8;
  plan.warps = wide;
  plan.split = plan.slices > 1 && blocks(wide) < wanted;
  if (!gated && blocks(wide) * (plan.split ? plan.slices : 1) < multiprocessors * 3 / 4) plan.warps = 2;
  plan.split = plan.split && blocks(plan.warps) <= linear_tickets;
  if (plan.halved) {
    const auto padded = static_cast<size_t>(tiles * 8 * plan.tiles), count = static_cast<size_t>(units) * padded;
    plan.scale_offset = count * 2 * FragmentLayout::columns;
    plan.partial_offset = (plan.scale_offset + count * 4 + 255) / 256 * 256;
  }
  plan.bytes = plan.partial_offset;
  if (plan.split) {
    const auto sums =
        static_cast<size_t>(blocks(plan.warps) * plan.slices) * static_cast<size_t>(plan.warps * plan.tiles);
    plan.bytes += sums * 16 * 32;
  }
  return plan;
}

// In place of choice.h's table, for tests: it sends no model that is small enough for emulation this way.
int rows_by_environment() {
  static const char* const given = std::getenv("VIVACE_CUDA_UNPACK_ROWS");
  static const int rows = given == nullptr ? never : std::max(1, std::atoi(given));
  return rows;
}

bool unpacks(DType dtype, int rows, const std::vector<int>& outs, Serve serve) {
  if (serve != Serve::by_table) return serve == Serve::tiles && block_layout(dtype).bits != 0;
  if (block_layout(dtype).bits != 0 && rows >= rows_by_environment()) return true;
  return rows >= unpacked_from(dtype, *std::min_element(outs.begin(), outs.end()));
}

}  // namespace

size_t linear_scratch(DType dtype, int rows, const std::vector<int>& outs, int columns, int multiprocessors, bool gated,
                      Serve serve) {
  if (!has_fragments(dtype, columns)) return 0;
  if (unpacks(dtype, rows, outs, serve))
    return plan_unpacked(dtype, rows, outs, columns, multiprocessors, gated, unpacked_budget).bytes;
  return plan_fragments(dtype, rows, outs, columns, multiprocessors, gated).bytes;
}

bool fragment_linear(const LinearArguments& a, cudaStream_t stream) {
  if (!has_fragments(a.dtype, a.columns)) return false;
  std::vector<int> outs = {a.out};
  for (int i = 0; i < a.other_count; ++i) outs.push_back(a.others[i].out);
  if (unpacks(a.dtype, a.rows, outs, a.serve)) return unpacked_linear(a, stream);
  const FragmentPlan plan = plan_fragments(a.dtype, a.rows, outs, a.columns, a.multiprocessors, a.gating.up != nullptr);
  if (plan.halved) {
    const int tile = 8 * plan.tiles, padded = (a.rows + tile - 1) / tile * tile;
    const dim3 grid(static_cast<unsigned>(padded / halving_warps),
                    static_cast<unsigned>(fragment_layout(a.dtype).units(a.columns)));
    launch<halve_rows>(Launch{grid, dim3(32 * halving_warps), 0, stream}, a, plan);
  }
  if (fragment_layout(a.dtype).bits == 0)
    run_block_fragments(a, plan, stream);
  else if (fragment_layout(a.dtype).bits == 4)
    run_w4_fragments(a, plan, stream);
  else
    run_w8_fragments(a, plan, stream);
  return true;
}

}  // namespace vivace::cuda
