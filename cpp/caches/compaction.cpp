// Compression of prompts: pages (all layers and heads share a table here) for what stays, which take the place of a
// sequence's pages when the run is over. Others may share the old pages, and a run that fails leaves them as they were.
#include "caches/compaction.h"

#include <algorithm>

#include "caches/paged_kv.h"
#include "core/error.h"

namespace vivace {

int PagedKv::voters(int sequence, int rows) const {
  const SnapOptions& snap = options_.policy.snap;
  if (snap.budget == 0 || cells(sequence) + int64_t{rows} <= snap.least) return 0;
  return std::min(snap.window, rows);
}

Compaction& PagedKv::begin_compaction(int sequence, int added, int voters) {
  Sequence& owner = checked(sequence);
  const SnapOptions& snap = options_.policy.snap;
  end_compaction(owner);
  const int64_t cells = owner.length + int64_t{added};
  if (snap.budget == 0 || cells <= snap.budget || voters < 1 || voters > added || voters > snap.window)
    throw Error("INTERNAL", "KV cache: there is nothing to compress, or nobody to vote");
  auto made = std::make_unique<Compaction>();
  made->cells = static_cast<int>(cells);
  made->kept = snap.budget;
  made->prefix = made->cells - snap.window;
  made->voters = voters;
  made->queries = voters * snap.group;
  made->spans = (made->cells + compaction_span - 1) / compaction_span;
  const auto heads = static_cast<size_t>(options_.kv_heads), prefix = static_cast<size_t>(made->prefix);
  // Devices have memory of their own for all but the rows.
  const bool here = store_->place() == nullptr;
  if (here) {
    const size_t sums = heads * static_cast<size_t>(made->spans) * static_cast<size_t>(made->queries) * 2;
    made->floats.resize(sums + 2 * heads * prefix);
    made->sums = made->floats.data();
    made->votes = made->sums + sums;
    made->pooled = made->votes + heads * prefix;
  }
  made->integers.resize(static_cast<size_t>(voters) + (here ? heads * static_cast<size_t>(made->kept) : 0));
  made->rows = made->integers.data();
  made->chosen = made->rows + voters;
  const int64_t wanted = (made->kept + options_.page_size - 1) / options_.page_size;
  if (used_bytes_ + wanted * page_bytes_ > options_.max_pages * page_bytes_)
    throw Error("OUT_OF_MEMORY", "KV cache: there are no pages left for what stays of a compressed prompt",
                "Dispose of sessions, or allow more cache when the model is loaded.");
  owner.compaction = std::move(made);
  Compaction& begun = *owner.compaction;
  try {
    for (int64_t i = 0; i < wanted; ++i) begun.page_list.push_back(take_page(0, wanted - i));
  } catch (...) {
    end_compaction(owner);
    throw;
  }
  begun.pages = begun.page_list.data();
  return begun;
}

void PagedKv::end_compaction(Sequence& sequence) {
  if (!sequence.compaction) return;
  for (const int32_t page : sequence.compaction->page_list) drop_page(page);
  sequence.compaction.reset();
}

void PagedKv::compact(int sequence) {
  Sequence& owner = checked(sequence);
  if (!owner.compaction || owner.compaction->cells != owner.length)
    throw Error("INTERNAL", "KV cache: nothing was compressed, or not all of it is committed");
  const std::unique_ptr<Compaction> done = std::move(owner.compaction);
  cut(owner, 0);
  owner.tables[0].entries.assign(done->page_list.begin(), done->page_list.end());
  owner.pages = static_cast<int64_t>(done->page_list.size());
  owner.length = done->kept;
  owner.shift += done->cells - done->kept;
  owner.fixed = owner.length + owner.shift;
}

}  // namespace vivace
