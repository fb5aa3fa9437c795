// Bodies of linear, gated_linear and pack_panels, compiled once per instruction-set level; VIVACE_ISA is the level's
// namespace.
//
// Work is shared in units of a few weight rows and a block of batch rows whose activations stay in the second-level
// cache. Decode is the same code with one small block: weights stream through once. Weights of floats are here, the
// families of quantised types in files of their own.
#include "ops/fused/gated_linear.h"
#include "ops/linear/families/bodies.h"
#include "ops/linear/float_tile.h"
#include "ops/linear/linear.h"
#include "ops/row_scaled/row_scaled.h"

namespace vivace::VIVACE_ISA {
namespace {

constexpr int few_rows = 8;

// Pointers to `count` weight rows from `first` on; rows beyond the last are the last again.
template <class Stored, int count>
void row_pointers(const Tensor& weight, int64_t first, const Stored* (&pointers)[count]) {
  for (int i = 0; i < count; ++i) pointers[i] = weight.row<const Stored>(smaller(first + i, weight.rows - 1));
}

// One tile of weight rows from n on times a block of the batch: tile(first row of a few, their number, sums) for each.
template <class Weight, class Tile>
inline void multiply_tile(const Tensor& x, const Tensor& weight, int64_t n, const std::byte* next, int64_t first,
                          int64_t rows, Tile&& tile) {
  const typename Weight::Stored* weights[weight_tile];
  row_pointers(weight, n, weights);
  const auto multiply_rows = [&]<int R>(int64_t row) {
    const float* rows_of_x[R];
    float sums[R][weight_tile];
    for (int r = 0; r < R; ++r) rows_of_x[r] = x.row<const float>(first + row + r);
    multiply_floats<Weight, R>(weights, rows_of_x, weight.columns, next, sums);
    for (int r = 0; r < R; ++r) tile(row + r, sums[r]);
  };
  int64_t row = 0;
  for (; row + row_tile <= rows; row += row_tile) multiply_rows.template operator()<row_tile>(row);
  for (; row < rows; ++row) multiply_rows.template operator()<1>(row);
}

template <class Weight>
void float_linear(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1];
  for_units(run, team, weight_tile, block_of_rows(x.stride, row_block), [&](int64_t n, int64_t first, int64_t rows) {
    const int64_t count = smaller(weight_tile, weight.rows - n);
    // With few rows, memory is the limit; with many, fetching once per row tile would only take load slots.
    const std::byte* next = rows <= few_rows ? weight.data + (n + weight_tile) * weight.stride : nullptr;
    multiply_tile<Weight>(x, weight, n, next, first, rows,
                          [&](int64_t row, const float* sums) { finish(run, first + row, n, count, sums); });
  });
}

template <class Weight>
void float_gated(const OpRun& run, Team& team) {
  const Tensor& x = run.inputs[0];
  GatedBlock block(columns_of_unit(run.inputs[1].rows, run.outputs[0].rows, team.threads()));
  for_units(
      run, team, block.columns(), block_of_rows(x.stride, row_block), [&](int64_t n, int64_t first, int64_t rows) {
        for (int side = 0; side < 2; ++side) {
          const Tensor &weight = run.inputs[1 + side], &other = run.inputs[2 - side];
          const int64_t end = smaller(n + block.columns(), weight.rows);
          for (int64_t at = n; at < end; at += weight_tile) {
            const bool last = at + weight_tile >= end;
            const std::byte* next = !last ? weight.data + (at + weight_tile) * weight.stride
                                          : other.data + (side == 0 ? n : end) * other.stride;
            multiply_tile<Weight>(x, weight, at, rows <= few_rows ? next : nullptr, first, rows,
                                  [&](int64_t row, const float* sums) {
                                    std::memcpy(block.row(side, row) + (at - n), sums, sizeof(float) * weight_tile);
                                  });
          }
        }
        block.finish(run, n, first, rows);
      });
}

LinearBodies find_bodies(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return {float_linear<WeightF32>, float_gated<WeightF32>, nullptr};
    case DType::F16:
      return {float_linear<WeightF16>, float_gated<WeightF16>, nullptr};
    case DType::BF16:
      return {float_linear<WeightBF16>, float_gated<WeightBF16>, nullptr};
    case DType::W8A16:
    case DType::W8A16_G32:
    case DType::W8A16_G64:
    case DType::W8A16_G128:
    case DType::W4A16:
    case DType::W4A16_G32:
    case DType::W4A16_G64:
    case DType::W4A16_G128:
    case DType::W8A8:
    case DType::W4A8:
    case DType::W4A8_G128:
      return {row_scaled_linear, nullptr, nullptr};
    default:
      break;
  }
  for (const auto family : {bodies_of_4_bits, bodies_of_5_and_8_bits, bodies_of_k_4_and_5, bodies_of_k_2_3_and_6})
    if (const LinearBodies bodies = family(dtype); bodies.linear != nullptr) return bodies;
  return {};  // no weight: refused by check()
}

}  // namespace

void linear(const OpRun& run, Team& team) {
  find_bodies(run.inputs[1].dtype).linear(run, team);
}

void gated_linear(const OpRun& run, Team& team) {
  find_bodies(run.inputs[1].dtype).gated(run, team);
}

void pack_panels(const OpRun& run, Team& team) {
  if (const Kernel pack = find_bodies(run.inputs[0].dtype).pack) pack(run, team);
}

}  // namespace vivace::VIVACE_ISA
