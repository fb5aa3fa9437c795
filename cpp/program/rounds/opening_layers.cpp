#include "program/rounds/opening_layers.h"

#include <algorithm>
#include <bit>

#include "caches/paged_kv.h"
#include "ops/attention/attention.h"
#include "ops/attention/kv_write.h"
#include "ops/attention/sparse/choice.h"

namespace vivace {
namespace {

// As visible_slots() counts them for a row without a window.
int cells_seen(const Batch& batch, int64_t row) {
  int seen = batch.visible[row];
  if (batch.tree_mask == nullptr) return seen;
  const int before = batch.visible[row] - batch.first_cells[row];  // bits that are not counted
  for (int64_t word = 0; word < batch.tree_words; ++word) {
    uint64_t mask = batch.tree_mask[row * batch.tree_words + word];
    const int64_t hidden = before - 64 * word;
    if (hidden >= 64) continue;
    if (hidden > 0) mask &= ~uint64_t{0} << hidden;
    seen += std::popcount(mask);
  }
  return seen;
}

}  // namespace

OpeningLayers::OpeningLayers(const Program& program) {
  for (const CallInfo& call : program.calls) {
    if (call.op != &attention_op) continue;
    const auto layer = static_cast<size_t>(call.attributes[0]);
    if (windows_.size() <= layer) windows_.resize(layer + 1);
    windows_[layer] = static_cast<int>(call.attributes[5]);
  }
}

int OpeningLayers::layer_of(const CallInfo& call) {
  return call.op == &attention_op || call.op == &kv_write_op ? static_cast<int>(call.attributes[0]) : -1;
}

const std::vector<OffloadedLayers::Need>& OpeningLayers::needs(const Batch& batch, const PagedKv& kv, int layer) {
  const LabelOptions& labels = kv.options().policy.labels;
  const int window = static_cast<size_t>(layer) < windows_.size() ? windows_[static_cast<size_t>(layer)] : 0;
  const int size = kv.options().page_size;
  reaches_.clear();
  for (int64_t row = 0; row < batch.rows; ++row) {
    const int sequence = batch.sequences[row], written = batch.cells[row] / size;
    auto own =
        std::find_if(reaches_.begin(), reaches_.end(), [&](const Reach& one) { return one.sequence == sequence; });
    if (own == reaches_.end()) own = reaches_.insert(own, {sequence, 0, -1, written, written});
    own->first_written = std::min(own->first_written, written);
    own->last_written = std::max(own->last_written, written);
    const int seen = cells_seen(batch, row), end = batch.visible[row];
    // With a window a row may choose all the same; then more is there than it reads.
    if (window == 0 && is_output(batch, row) && chosen_cells(labels, seen) < seen) continue;
    const int first = window > 0 && window < end ? (end - window) / size : 0, last = (end - 1) / size;
    own->first_read = own->last_read < 0 ? first : std::min(own->first_read, first);
    own->last_read = std::max(own->last_read, last);
    // Cells of a tree that were computed before: behind the prefix, up to where this run writes.
    if (batch.tree_mask != nullptr) own->last_read = std::max(own->last_read, own->last_written);
  }
  needs_.clear();
  for (const Reach& own : reaches_) {
    const auto writes = [&](int page) { return page >= own.first_written && page <= own.last_written; };
    for (int page = own.first_read; page <= own.last_read; ++page)
      needs_.push_back({kv.page_number(own.sequence, page), writes(page)});
    for (int page = own.first_written; page <= own.last_written; ++page)
      if (page < own.first_read || page > own.last_read) needs_.push_back({kv.page_number(own.sequence, page), true});
  }
  return needs_;
}

}  // namespace vivace
