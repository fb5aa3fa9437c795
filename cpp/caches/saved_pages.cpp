// Sequences of caches with policies as files keep them: numbers, and the pages that later rows may see. What a file
// says is checked against what this cache could have made itself.
#include <algorithm>
#include <cstring>

#include "caches/paged_kv.h"
#include "core/error.h"
#include "offload/offloaded_layers.h"

namespace vivace {

PagedKv::Saved PagedKv::saved(int sequence) const {
  const Sequence& own = checked(sequence);
  return {own.length, own.shift, own.fixed, own.horizon};
}

// The first page that rows from `horizon` on need although it is none of those that are kept anyway.
int64_t PagedKv::first_seen(const PageGroup& group, int64_t horizon) const {
  if (group.pattern.full()) return 0;
  int64_t low = 0, high = horizon / options_.page_size + 1;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (group.leaves(middle, horizon)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Of what a rollback has left, a page may be there that rows from the horizon on do not need.
std::vector<PagedKv::SavedPage> PagedKv::saved_pages(int sequence) const {
  const Sequence& own = checked(sequence);
  const int64_t end = (int64_t{own.length} + options_.page_size - 1) / options_.page_size;
  std::vector<SavedPage> pages;
  for (int group = 0; group < static_cast<int>(groups_.size()); ++group) {
    const PageGroup& kind = groups_[static_cast<size_t>(group)];
    const int64_t first = own.horizon > 0 ? std::min(end, first_seen(kind, own.horizon)) : 0;
    const int64_t kept = kind.bounded() ? std::min(first, kind.sink_pages()) : first;
    for (int64_t page = 0; page < kept; ++page)
      if (kind.keeps(page)) pages.push_back({group, page});
    for (int64_t page = first; page < end; ++page) pages.push_back({group, page});
  }
  return pages;
}

void PagedKv::read_page(int sequence, SavedPage page, std::byte* out) const {
  const Sequence& own = checked(sequence);
  if (page.group < 0 || page.group >= static_cast<int>(groups_.size()) || page.page < 0 ||
      !has(own, static_cast<size_t>(page.group), page.page))
    throw Error("INTERNAL", "KV cache: the sequence does not have the page");
  const int64_t cells = std::min<int64_t>(options_.page_size, own.length - page.page * options_.page_size);
  if (cells <= 0) throw Error("INTERNAL", "KV cache: the page has no committed cells");
  std::byte* source = page_base(sequence, static_cast<int>(page.page), page.group);
  std::memset(out, 0, static_cast<size_t>(group_bytes(page.group)));
  std::vector<PageStrip> strips;
  add_strips(strips, groups_[static_cast<size_t>(page.group)], source, 0, out, 0, cells);
  if (page.group == 0) add_label_strips(strips, source, 0, out, 0, static_cast<int>(cells));
  store_->read(strips);
  if (!offloaded_) return;
  offloaded_->read_cells(page_number(sequence, static_cast<int>(page.page)), 0, static_cast<int>(cells),
                         out + groups_[0].page_bytes);
}

int PagedKv::restore(const Saved& saved) {
  constexpr int64_t most_tokens = int64_t{1} << 30;
  const CachePolicy& policy = options_.policy;
  bool right = saved.cells >= 0 && saved.shift >= 0 && int64_t{saved.cells} + saved.shift <= most_tokens;
  right =
      right && (saved.horizon == 0 || (!policy.layers.empty() && saved.horizon > 0 && saved.horizon <= saved.cells));
  const bool whole = saved.shift == 0 && saved.fixed == 0;
  right = right && (whole || (policy.snap.budget > 0 && saved.fixed - saved.shift >= policy.snap.budget &&
                              saved.fixed - saved.shift <= saved.cells));
  if (!right) throw Error("INVALID_ARGUMENT", "KV cache: no sequence of this cache is like that");
  const int id = create();
  Sequence& made = sequences_[static_cast<size_t>(id)];
  made.length = saved.cells;
  made.shift = saved.shift;
  made.fixed = saved.fixed;
  made.horizon = saved.horizon;
  made.withheld = 0;  // a file's word is good enough for one session, not for all
  const std::vector<SavedPage> pages = saved_pages(id);
  int64_t bytes = 0;
  for (const SavedPage& page : pages) bytes += groups_[static_cast<size_t>(page.group)].page_bytes;
  const int64_t end = (int64_t{saved.cells} + options_.page_size - 1) / options_.page_size;
  const auto fits = [&](const PageGroup& kind) {
    const int64_t gone = std::max(kind.sink_pages(), first_seen(kind, saved.horizon));
    return kind.bounded() ? end - gone <= table_pages_ - kind.sink_pages() - 1 : end <= table_pages_;
  };
  std::vector<int32_t> taken;
  try {
    if (used_bytes_ + bytes > options_.max_pages * page_bytes_ || !std::all_of(groups_.begin(), groups_.end(), fits))
      throw Error("OUT_OF_MEMORY", "KV cache: there are no pages left for a restored session",
                  "Dispose of sessions, or allow more cache when the model is loaded.");
    for (size_t group = 0; group < groups_.size(); ++group) {
      Table& table = made.tables[group];
      table.entries.assign(static_cast<size_t>(std::min(end, table_pages_)), PrefixTree::none);
      table.gone = saved.horizon > 0 ? std::min(end, first_seen(groups_[group], saved.horizon)) : 0;
    }
    for (const SavedPage& page : pages) {
      taken.push_back(take_page(static_cast<size_t>(page.group), static_cast<int64_t>(pages.size() - taken.size())));
      entry(made, static_cast<size_t>(page.group), page.page) = taken.back();
    }
  } catch (...) {
    for (const int32_t page : taken) drop_page(page);
    made.alive = false;
    made.length = 0;
    throw;
  }
  made.pages = end;
  return id;
}

void PagedKv::write_page(int sequence, SavedPage page, const std::byte* in) {
  Sequence& own = checked(sequence);
  if (page.group < 0 || page.group >= static_cast<int>(groups_.size()) || page.page < 0 ||
      !has(own, static_cast<size_t>(page.group), page.page))
    throw Error("INTERNAL", "KV cache: the sequence does not have the page");
  const int64_t bytes = groups_[static_cast<size_t>(page.group)].page_bytes;
  store_->write({{page_base(sequence, static_cast<int>(page.page), page.group), in, bytes}});
  if (!offloaded_) return;
  const int64_t cells = std::min<int64_t>(options_.page_size, own.length - page.page * options_.page_size);
  offloaded_->write_cells(page_number(sequence, static_cast<int>(page.page)), 0, static_cast<int>(cells), in + bytes);
}

}  // namespace vivace
