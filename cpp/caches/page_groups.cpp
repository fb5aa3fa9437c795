#include "caches/page_groups.h"

#include <algorithm>

#include "caches/paged_kv.h"

namespace vivace {
namespace {

// What one head of a layer keeps, without what differs between heads that keep the same.
LayerPattern pattern_of(const CachePolicy& policy, int layer, int head, int kv_heads) {
  if (policy.layers.empty()) return {};
  LayerPattern one = policy.layers[static_cast<size_t>(layer)];
  if (one.full() || (one.block > 0 && (one.stride == 1 || head >= kv_heads - one.dense_heads))) return {};
  if (one.block > 0) one.head_offset = (one.head_offset + head * one.head_step) % one.stride;
  one.head_step = one.dense_heads = 0;
  return one;
}

}  // namespace

bool PageGroup::keeps(int64_t page) const {
  if (pattern.full()) return true;
  const int64_t begin = page * page_size, end = begin + page_size;
  if (pattern.block == 0) return begin < pattern.sinks;
  for (int64_t block = begin / pattern.block; block * pattern.block < end; ++block)
    if ((block + pattern.head_offset) % pattern.stride == 0 || (block == 0 && pattern.always_first)) return true;
  return false;
}

bool PageGroup::leaves(int64_t page, int64_t position) const {
  const int64_t last = (page + 1) * page_size - 1;
  if (pattern.block > 0) return position / pattern.block - last / pattern.block >= pattern.local;
  return pattern.window > 0 && position - last >= pattern.window;
}

std::vector<PageGroup> page_groups(const PageShape& shape, const CachePolicy& policy) {
  std::vector<PageGroup> groups;
  for (int layer = 0; layer < shape.layers; ++layer) {
    std::vector<std::vector<int>> heads_of(groups.size());
    const auto first = static_cast<std::ptrdiff_t>(shape.by_layer ? groups.size() : 0);
    for (int head = 0; head < shape.kv_heads; ++head) {
      const LayerPattern pattern = pattern_of(policy, layer, head, shape.kv_heads);
      const auto known = std::find_if(groups.begin() + first, groups.end(),
                                      [&](const PageGroup& group) { return group.pattern == pattern; });
      const auto index = static_cast<size_t>(known - groups.begin());
      if (known == groups.end()) {
        groups.push_back({pattern, shape.page_size, 0, {}, shape.key_row, shape.value_row});
        heads_of.emplace_back();
      }
      heads_of[index].push_back(head);
    }
    for (size_t i = 0; i < groups.size(); ++i) {
      PageGroup& group = groups[i];
      const auto count = static_cast<int64_t>(heads_of[i].size());
      const int64_t values = group.page_bytes + count * shape.key_head_bytes;
      for (int64_t k = 0; k < count; ++k)
        group.parts.push_back({layer, heads_of[i][static_cast<size_t>(k)], group.page_bytes + k * shape.key_head_bytes,
                               values + k * shape.value_head_bytes});
      group.page_bytes = values + count * shape.value_head_bytes;
    }
  }
  return groups;
}

void PagedKv::add_exact_keys() {
  exact_head_bytes_ = row_bytes(DType::F16, options_.key_dim) * options_.page_size;
  LayerPattern own_page;
  own_page.window = 1;
  PageGroup exact = {own_page, options_.page_size, 0, {}, row_bytes(DType::F16, options_.key_dim), 0};
  for (int layer = 0; layer < options_.layers; ++layer)
    for (int head = 0; head < options_.kv_heads; ++head, exact.page_bytes += exact_head_bytes_)
      exact.parts.push_back({layer, head, exact.page_bytes, 0});
  groups_.push_back(std::move(exact));
}

}  // namespace vivace
