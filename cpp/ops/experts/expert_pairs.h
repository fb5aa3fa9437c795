// Pairs of a row and an expert: what `route` chose, sorted by expert, so that rows of one expert meet its weights
// together. Pair row · used + slot is slot `slot` of a row; those of an id outside [0, experts) belong to none.
#pragma once
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "ops/experts/expert_places.h"
#include "program/op.h"

namespace vivace {

class ExpertPairs {
 public:
  // Memory of one member of a team: everyone sorts for himself, which takes less time than to wait for somebody.
  static constexpr int64_t bytes(const Tensor& ids, int64_t experts) {
    return (experts + 1 + 2 * ids.rows * ids.columns + 15) / 16 * 64;
  }

  // ids: I32 [rows, used]. Where there are places, only experts that have one are sorted.
  ExpertPairs(const Tensor& ids, int64_t experts, std::byte* memory, const ExpertPlaces* places);

  int64_t experts() const { return experts_; }
  int64_t first(int64_t expert) const { return starts_[expert]; }
  int64_t count(int64_t expert) const { return starts_[expert + 1] - starts_[expert]; }
  // Of the expert that has the most; and experts that have any.
  int64_t most() const { return most_; }
  int64_t used() const { return used_; }
  // The next expert that has pairs; after the last one, the last of all.
  int64_t after(int64_t expert) const {
    while (++expert < experts_)
      if (count(expert) > 0) return expert;
    return experts_ - 1;
  }
  bool has_expert(int64_t pair) const { return ids_[pair] >= 0 && ids_[pair] < experts_; }
  // By expert, then ascending: the pairs, and the rows that they are of.
  const int32_t* list() const { return list_; }
  const int32_t* rows() const { return rows_; }

 private:
  const int32_t* ids_;
  int64_t experts_, most_ = 0, used_ = 0;
  int32_t *starts_, *list_, *rows_;
};

// A row of `used` vectors side by side as so many rows.
inline Tensor rows_of_pairs(Tensor values, int64_t used) {
  values.rows *= used;
  values.columns /= used;
  values.stride /= used;
  return values;
}

// What experts give before it is weighted: F32 [pairs, out].
constexpr int64_t expert_products_bytes(const Tensor& ids, const Tensor& y) {
  return (ids.rows * ids.columns * y.columns + 15) / 16 * 64;
}

}  // namespace vivace

#if defined(VIVACE_ISA)
#include "core/simd.h"
#include "ops/row_pieces.h"

namespace vivace::VIVACE_ISA {

// y[r] = residual[r] + Σ weights[r][slot] · products[r · used + slot], in the order of slots.
inline void add_weighted(const OpRun& run, const ExpertPairs& pairs, const float* products, const Team& team) {
  const Tensor &ids = run.inputs[2], &weights = run.inputs[3], &residual = run.inputs[4], &y = run.outputs[0];
  for_row_pieces(y, team, [&](int64_t row, int64_t from, int64_t count) {
    const float* added = residual.data != nullptr ? residual.row<const float>(row) + from : nullptr;
    float* out = y.row<float>(row) + from;
    for_lanes(count, [&](int64_t i, int n) {
      F32 sum = zero();
      for (int64_t slot = 0; slot < ids.columns; ++slot) {
        const int64_t pair = row * ids.columns + slot;
        if (!pairs.has_expert(pair)) continue;
        const F32 product = load_some(products + pair * y.columns + from + i, n);
        sum = fma(set1(weights.row<const float>(row)[slot]), product, sum);
      }
      if (added != nullptr) sum += load_some(added + i, n);
      store_some(out + i, sum, n);
    });
  });
}

}  // namespace vivace::VIVACE_ISA
#endif
