// Compression of prompts: pages for what stays, which take the place of a sequence's pages when the run is over, or the
// prompt has passed the last layer. Others may share the old pages, and a run that fails leaves them as they were.
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

namespace {

[[noreturn]] void no_pages() {
  throw Error("OUT_OF_MEMORY", "KV cache: there are no pages left for a prompt that is compressed",
              "Dispose of sessions, or allow more cache when the model is loaded.");
}

}  // namespace

// All but pages.
Compaction& PagedKv::make_compaction(Sequence& owner, int added, int voters) {
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
  made->kept_pages = (made->kept + options_.page_size - 1) / options_.page_size;
  made->page_list.assign(groups_.size() * static_cast<size_t>(made->kept_pages), PrefixTree::none);
  made->pages = made->page_list.data();
  owner.compaction = std::move(made);
  return *owner.compaction;
}

Compaction& PagedKv::begin_compaction(int sequence, int added, int voters) {
  Sequence& owner = checked(sequence);
  Compaction& begun = make_compaction(owner, added, voters);
  try {
    if (used_bytes_ + begun.kept_pages * all_bytes_ > options_.max_pages * page_bytes_) no_pages();
    for (size_t i = 0; i < begun.page_list.size(); ++i)
      begun.page_list[i] =
          take_page(i / static_cast<size_t>(begun.kept_pages), static_cast<int64_t>(begun.page_list.size() - i));
  } catch (...) {
    end_compaction(owner);
    throw;
  }
  return begun;
}

Compaction& PagedKv::begin_layer(int sequence, int layer, int first, int added, int voters, int64_t carried) {
  Sequence& owner = checked(sequence);
  if (!by_layer_) throw Error("INTERNAL", "KV cache: prompts pass all layers at a time here");
  if (layer == 0 && first == 0) {
    Compaction& made = make_compaction(owner, added, voters);
    // Room that was made for rounds ahead is the prompt's.
    cut_pages(owner, (int64_t{owner.length} + options_.page_size - 1) / options_.page_size);
    made.carried_bytes = carried;
    try {
      made.carried.reserve(std::max<int64_t>(1, added * carried));
    } catch (...) {
      end_compaction(owner);
      throw;
    }
  }
  Compaction* const own = owner.compaction.get();
  if (own == nullptr || own->cells != owner.length + int64_t{added} || own->voters != voters || layer < 0 ||
      layer >= options_.layers || !(own->layer == layer || (own->passed && own->layer + 1 == layer && first == 0)))
    throw Error("INTERNAL", "KV cache: a prompt's rows pass one layer after the other");
  if (own->layer < layer) take_layer_pages(owner, layer);
  return *own;
}

// For all of the layer's cells, and for those that stay of them: all or none.
void PagedKv::take_layer_pages(Sequence& owner, int layer) {
  Compaction& own = *owner.compaction;
  const auto group = static_cast<size_t>(layer);
  const int64_t wanted = (int64_t{own.cells} + options_.page_size - 1) / options_.page_size;
  const int64_t first_written = owner.length / options_.page_size;
  const bool shared =
      first_written < owner.pages && pages_[static_cast<size_t>(entry(owner, group, first_written))].references > 1;
  const int64_t taken = wanted - owner.pages + own.kept_pages + (shared ? 1 : 0);
  if (wanted > table_pages_ || used_bytes_ + taken * groups_[group].page_bytes > options_.max_pages * page_bytes_)
    no_pages();
  int32_t* const kept = own.pages + layer * own.kept_pages;
  try {
    if (shared) copy_page(owner, group, first_written);
    std::vector<int32_t>& entries = owner.tables[group].entries;
    for (int64_t page = owner.pages; page < wanted; ++page) {
      if (static_cast<int64_t>(entries.size()) == page) entries.push_back(PrefixTree::none);
      entries[static_cast<size_t>(page)] = take_page(group, wanted - page + own.kept_pages);
    }
    for (int i = 0; i < own.kept_pages; ++i) kept[i] = take_page(group, own.kept_pages - i);
  } catch (...) {
    drop_behind(owner, group);
    for (int i = 0; i < own.kept_pages; ++i) {
      if (kept[i] >= 0) drop_page(kept[i]);
      kept[i] = PrefixTree::none;
    }
    throw;
  }
  own.layer = layer;
  own.passed = false;
}

// Pages of a layer that the sequence as a whole has not.
void PagedKv::drop_behind(Sequence& sequence, size_t group) {
  std::vector<int32_t>& entries = sequence.tables[group].entries;
  while (static_cast<int64_t>(entries.size()) > sequence.pages) {
    if (entries.back() >= 0) drop_page(entries.back());
    entries.pop_back();
  }
}

void PagedKv::pass_layer(int sequence) {
  Sequence& owner = checked(sequence);
  if (!owner.compaction || owner.compaction->passed) throw Error("INTERNAL", "KV cache: no layer was begun");
  drop_behind(owner, static_cast<size_t>(owner.compaction->layer));
  owner.compaction->passed = true;
}

void PagedKv::end_compaction(Sequence& sequence) {
  if (!sequence.compaction) return;
  if (sequence.compaction->layer >= 0) drop_behind(sequence, static_cast<size_t>(sequence.compaction->layer));
  for (const int32_t page : sequence.compaction->page_list)
    if (page >= 0) drop_page(page);
  sequence.compaction.reset();
}

void PagedKv::compact(int sequence) {
  Sequence& owner = checked(sequence);
  const bool by_layers = owner.compaction && owner.compaction->layer >= 0;
  if (!owner.compaction || !(by_layers ? owner.compaction->passed && owner.compaction->layer + 1 == options_.layers
                                       : owner.compaction->cells == owner.length))
    throw Error("INTERNAL", "KV cache: nothing was compressed, or not all of it is committed");
  const std::unique_ptr<Compaction> done = std::move(owner.compaction);
  cut(owner, 0);
  for (size_t group = 0; group < groups_.size(); ++group) {
    const auto first = done->page_list.begin() + static_cast<std::ptrdiff_t>(group) * done->kept_pages;
    owner.tables[group].entries.assign(first, first + done->kept_pages);
  }
  owner.pages = done->kept_pages;
  owner.length = done->kept;
  owner.shift += done->cells - done->kept;
  owner.fixed = owner.length + owner.shift;
}

}  // namespace vivace
