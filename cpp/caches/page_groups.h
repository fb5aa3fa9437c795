// Layers and heads of a KV cache that keep the same cells: they share pages, and a page goes when none of its cells
// will be seen again.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "caches/cache_policy.h"

namespace vivace {

struct PageShape {
  int layers = 0, kv_heads = 0, page_size = 0;
  int64_t key_head_bytes = 0, value_head_bytes = 0;  // [page_size, row]
  int64_t key_row = 0, value_row = 0;                // PageGroup's
  bool by_layer = false;                             // no two layers share a group
};

struct PageGroup {
  // Where one head's keys and values lie in a page.
  struct Part {
    int layer, head;
    int64_t key, value;
  };
  LayerPattern pattern;  // its head offset that of the group's heads
  int page_size = 0;
  int64_t page_bytes = 0;
  std::vector<Part> parts;
  int64_t key_row = 0, value_row = 0;  // bytes of a cell's own; 0: it has none here

  // Only a bounded number of pages is kept, however long the text.
  bool bounded() const { return pattern.window > 0; }
  int64_t sink_pages() const { return (int64_t{pattern.sinks} + page_size - 1) / page_size; }
  // Some cell of the page is seen by every later row.
  bool keeps(int64_t page) const;
  // No row from `position` on sees a cell of the page, unless it is kept.
  bool leaves(int64_t page, int64_t position) const;
};

// One group of all without a policy, its page [layers][ K: [kv_heads][page_size][key row] | V: … ]. Every layer and
// head is in one group.
std::vector<PageGroup> page_groups(const PageShape& shape, const CachePolicy& policy);

}  // namespace vivace
