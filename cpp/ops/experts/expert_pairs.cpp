#include "ops/experts/expert_pairs.h"

#include <cstring>

namespace vivace {

ExpertPairs::ExpertPairs(const Tensor& ids, int64_t experts, std::byte* memory, const ExpertPlaces* places)
    : ids_(reinterpret_cast<const int32_t*>(ids.data)),
      experts_(experts),
      starts_(reinterpret_cast<int32_t*>(memory)),
      list_(starts_ + experts + 1),
      rows_(list_ + ids.rows * ids.columns) {
  const int64_t pairs = ids.rows * ids.columns;
  const auto sorted = [&](int64_t pair) {
    return has_expert(pair) && (places == nullptr || places->matrices[0][ids_[pair]] != nullptr);
  };
  std::memset(starts_, 0, static_cast<size_t>(experts + 1) * sizeof(int32_t));
  for (int64_t i = 0; i < pairs; ++i)
    if (sorted(i)) ++starts_[ids_[i] + 1];
  for (int64_t e = 0; e < experts; ++e) {
    const int32_t count = starts_[e + 1];
    if (count > most_) most_ = count;
    if (count > 0) ++used_;
    starts_[e + 1] += starts_[e];
  }
  // Each start moves to the next expert's while the list is filled, and back.
  for (int64_t i = 0; i < pairs; ++i) {
    if (!sorted(i)) continue;
    const int32_t place = starts_[ids_[i]]++;
    list_[place] = static_cast<int32_t>(i);
    rows_[place] = static_cast<int32_t>(i / ids.columns);
  }
  for (int64_t e = experts; e > 0; --e) starts_[e] = starts_[e - 1];
  starts_[0] = 0;
}

}  // namespace vivace
