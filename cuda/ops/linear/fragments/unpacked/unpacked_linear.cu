// linear for many rows of x and GGUF's types in fragments: weights are unpacked into scratch memory, as much of a
// matrix at a time as that has room for, and multiplied from there.
#include <algorithm>

#include "cuda/ops/linear/fragments/unpacked/products.h"
#include "cuda/quant/fragments.h"

namespace vivace::cuda {
namespace {

template <bool halves, bool has_min>
void multiply(const UnpackedProducts& u, int tile, cudaStream_t stream) {
  if (tile == 128)
    launch_unpacked<halves, has_min, 4>(u, stream);
  else
    launch_unpacked<halves, has_min, 2>(u, stream);
}

int64_t strip_bytes(DType dtype, int columns) {
  return int64_t{columns / PieceLayout::columns} * piece_layout(dtype).bytes();
}

}  // namespace

UnpackedPlan plan_unpacked(DType dtype, int rows, const std::vector<int>& outs, int columns, int multiprocessors,
                           bool gated, int64_t budget) {
  UnpackedPlan plan;
  const int most = *std::max_element(outs.begin(), outs.end()), matrices = gated ? 2 : 1;
  const int strips = (most + 15) / 16, step = unpacked_strips / matrices;
  // Passes of about the same size, in whole blocks.
  const int64_t room = std::max<int64_t>(budget / (matrices * strip_bytes(dtype, columns)) / step * step, step);
  const int passes = static_cast<int>((strips + room - 1) / room);
  plan.pass = ((strips + passes - 1) / passes + step - 1) / step * step;
  // The larger tile where it leaves no multiprocessor idle.
  plan.tile = int64_t{plan.pass / step} * ((rows + 127) / 128) >= multiprocessors * 3 / 4 ? 128 : 64;
  plan.padded = (rows + plan.tile - 1) / plan.tile * plan.tile;
  const auto aligned = [](int64_t bytes) { return static_cast<size_t>((bytes + 255) / 256 * 256); };
  const int numbers = piece_layout(dtype).numbers_of_x();
  plan.numbers = aligned(int64_t{plan.padded} * columns * 2);
  plan.weights = plan.numbers + aligned(int64_t{plan.padded} * (columns / 32) * numbers * 4);
  plan.bytes = plan.weights + aligned(matrices * plan.pass * strip_bytes(dtype, columns));
  return plan;
}

bool unpacked_linear(const LinearArguments& a, cudaStream_t stream, int64_t budget) {
  if (block_layout(a.dtype).bits == 0 || !has_fragments(a.dtype, a.columns)) return false;
  const bool gated = a.gating.up != nullptr;
  std::vector<LinearTarget> targets = {a.target()};
  targets.insert(targets.end(), a.others, a.others + a.other_count);
  std::vector<int> outs;
  for (const LinearTarget& target : targets) outs.push_back(target.out);
  const UnpackedPlan plan = plan_unpacked(a.dtype, a.rows, outs, a.columns, a.multiprocessors, gated, budget);
  const PieceLayout piece = piece_layout(a.dtype);
  widen_rows(a, plan, stream);
  uint8_t* pieces = a.scratch + plan.weights;
  for (const LinearTarget& target : targets) {
    const int strips = (target.out + 15) / 16;
    for (int first = 0; first < strips; first += plan.pass) {
      const int count = std::min(plan.pass, strips - first);
      unpack_strips(a.dtype, target.weight, first, count, a.columns, pieces, stream);
      if (gated)
        unpack_strips(a.dtype, a.gating.up, first, count, a.columns, pieces + count * strip_bytes(a.dtype, a.columns),
                      stream);
      const UnpackedProducts products = {
          pieces,      a.scratch, reinterpret_cast<const float*>(a.scratch + plan.numbers),
          first,       count,     a.columns / PieceLayout::columns,
          plan.padded, a.rows,    target,
          a.gating};
      if (piece.parts == 2)
        piece.has_min ? multiply<true, true>(products, plan.tile, stream)
                      : multiply<true, false>(products, plan.tile, stream);
      else
        piece.has_min ? multiply<false, true>(products, plan.tile, stream)
                      : multiply<false, false>(products, plan.tile, stream);
    }
  }
  return true;
}

}  // namespace vivace::cuda
