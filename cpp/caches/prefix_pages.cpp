// Pages that outlive their sequences, for texts that begin the same. All of it happens on the JavaScript thread. A page
// is published when it is full and committed; nobody writes into it from then on, for whoever would, copies it first
// (reserve).
#include <algorithm>

#include "caches/paged_kv.h"
#include "offload/offloaded_layers.h"

namespace vivace {

// The pages of the longest beginning that is published.
std::vector<int32_t> PagedKv::find(const int32_t* tokens, int64_t pages, const std::string& salt) const {
  std::vector<int32_t> found;
  int32_t at = prefixes_.root(salt);
  for (int64_t i = 0; i < pages && at != PrefixTree::none; ++i) {
    at = prefixes_.find(at, tokens + i * options_.page_size);
    if (at != PrefixTree::none) found.push_back(at);
  }
  return found;
}

int PagedKv::share(int sequence, const int32_t* tokens, int count, const std::string& salt) {
  Sequence& taker = checked(sequence);
  const int size = options_.page_size;
  const std::vector<int32_t> found = find(tokens, std::min<int64_t>(count / size, table_pages_), salt);
  const size_t own = static_cast<size_t>(taker.length / size);
  if (found.size() <= own) return taker.length;
  // Held before the sequence gives anything back, for that may drive idle pages out.
  for (size_t i = own; i < found.size(); ++i) hold_page(found[i]);
  truncate(sequence, static_cast<int>(own) * size);
  if (static_cast<size_t>(taker.length) < own * static_cast<size_t>(size)) {  // it gave up all of its text
    for (size_t i = found.size(); i-- > own;) drop_page(found[i]);
    return share(sequence, tokens, count, salt);
  }
  for (size_t i = own; i < found.size(); ++i) {
    taker.tables[0].entries.push_back(found[i]);
    ++taker.pages;
    // Full pages are quantised: nobody sees their keys as they were.
    if (by_channel()) {
      taker.tables[1].entries.push_back(PrefixTree::none);
      taker.tables[1].gone = taker.pages;
    }
  }
  return taker.length = static_cast<int>(found.size()) * size;
}

void PagedKv::publish(int sequence, const int32_t* tokens, int count, const std::string& salt) {
  if (most_idle_ == 0 || !(shares_prefixes() || by_channel())) return;
  const Sequence& owner = checked(sequence);
  const int size = options_.page_size;
  const size_t full = static_cast<size_t>(std::min({count, owner.length, owner.withheld}) / size);
  const std::vector<int32_t> known = find(tokens, static_cast<int64_t>(full), salt);
  int32_t at = known.empty() ? PrefixTree::none : known.back();
  for (size_t i = known.size(); i < full; ++i) {
    if (!has(owner, 0, static_cast<int64_t>(i))) break;  // of texts longer than a window the beginning is gone
    const int32_t id = owner.tables[0].entries[place_in(groups_[0], static_cast<int64_t>(i))];
    if (pages_[id].published) break;  // under another salt
    if (at == PrefixTree::none) at = prefixes_.make_root(salt);
    prefixes_.add(at, tokens + static_cast<int64_t>(i) * size, id);
    pages_[id].published = true;
    at = id;
  }
  // Of texts that two sequences computed at the same time one is published; to both it is as fresh. First pages stay
  // longest.
  for (size_t i = known.size(); i-- > 0;) {
    const Page& page = pages_[known[i]];
    if (page.references == 0) idle_.splice(idle_.end(), idle_, page.place);
  }
}

void PagedKv::withhold(int sequence, int from) {
  Sequence& owner = checked(sequence);
  owner.withheld = std::min(owner.withheld, from);
}

void PagedKv::keep_idle(int64_t pages) {
  most_idle_ = pages;
  while (pages_idle() > most_idle_) evict(idle_.front());
}

int64_t PagedKv::drop_idle() {
  const int64_t before = pages_idle();
  while (!idle_.empty()) evict(idle_.front());
  return before;
}

void PagedKv::forget() {
  for (const int32_t id : prefixes_.clear()) pages_[id].published = false;
  while (!idle_.empty()) {
    const int32_t id = idle_.front();
    idle_.pop_front();
    free_page(id);
  }
}

void PagedKv::hold_page(int32_t id) {
  if (offloaded_) offloaded_->wake();
  Page& page = pages_[id];
  if (page.references++ > 0) return;
  idle_.erase(page.place);
  ++used_;
  used_bytes_ += groups_[static_cast<size_t>(page.group)].page_bytes;
}

// What lies behind the page in its texts cannot be found without it.
void PagedKv::evict(int32_t page) {
  for (const int32_t id : prefixes_.remove(page)) {
    Page& gone = pages_[id];
    gone.published = false;
    ++evictions_;
    if (gone.references > 0) continue;
    idle_.erase(gone.place);
    free_page(id);
  }
}

}  // namespace vivace
