#include "decode/draft/n_gram/n_gram_index.h"

#include <algorithm>
#include <random>

namespace vivace {
namespace {

// Differs from process to process, so that nobody can write a text whose n-grams all share a slot. No result depends on
// it.
uint64_t process_seed() {
  static const uint64_t seed = [] {
    std::random_device device;
    return (static_cast<uint64_t>(device()) << 32) | device();
  }();
  return seed;
}

// Takes in one more token; the hash of an n-gram takes its tokens in from the last to the first.
uint64_t mix(uint64_t hash, int32_t token) {
  hash = (hash ^ static_cast<uint32_t>(token)) * 0x9E3779B97F4A7C15ULL;
  return hash ^ (hash >> 29);
}
uint32_t folded(uint64_t hash) {
  return static_cast<uint32_t>((hash * 0xD6E8FEB86659FD93ULL) >> 32);
}

}  // namespace

NGramIndex::NGramIndex(int min_n, int max_n, bool latest)
    : min_n_(min_n), max_n_(max_n), latest_(latest), levels_(static_cast<size_t>(max_n - min_n + 1)) {}

// The slot that holds the n-gram, or the empty one where it belongs. There is always an empty one.
size_t NGramIndex::place(const Level& level, int n, uint32_t hash, const int32_t* last,
                         const std::vector<int32_t>& text) {
  const size_t mask = level.slots.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = level.slots[at];
    if (slot.end < 0) return at;
    if (slot.hash == hash && std::equal(last - (n - 1), last + 1, text.data() + slot.end - (n - 1))) return at;
  }
}

void NGramIndex::grow(Level& level) {
  std::vector<Slot> old(std::max<size_t>(16, 2 * level.slots.size()));
  old.swap(level.slots);
  const size_t mask = level.slots.size() - 1;
  for (const Slot& slot : old) {
    if (slot.end < 0) continue;
    size_t at = slot.hash & mask;
    while (level.slots[at].end >= 0) at = (at + 1) & mask;
    level.slots[at] = slot;
  }
}

// Moves later entries back into the gap, so that no search ends too early.
void NGramIndex::erase(Level& level, size_t gap) {
  const size_t mask = level.slots.size() - 1;
  for (size_t at = (gap + 1) & mask; level.slots[at].end >= 0; at = (at + 1) & mask) {
    const size_t home = level.slots[at].hash & mask;
    if (((at - home) & mask) < ((at - gap) & mask)) continue;
    level.slots[gap] = level.slots[at];
    gap = at;
  }
  level.slots[gap].end = -1;
  --level.used;
}

void NGramIndex::push(const std::vector<int32_t>& text) {
  const int32_t end = static_cast<int32_t>(text.size()) - 1;
  uint64_t hash = process_seed();
  for (int n = 1; n <= max_n_; ++n) {
    if (n <= end + 1) hash = mix(hash, text[static_cast<size_t>(end - n + 1)]);
    if (n < min_n_) continue;
    Level& level = levels_[static_cast<size_t>(n - min_n_)];
    if (n > end + 1) {
      level.before.push_back(-1);
      continue;
    }
    if (3 * (level.used + 1) > 2 * level.slots.size()) grow(level);
    Slot& slot = level.slots[place(level, n, folded(hash), text.data() + end, text)];
    level.before.push_back(slot.end);
    if (slot.end < 0) {
      ++level.used;
      slot = {folded(hash), end};
    } else if (latest_) {
      slot.end = end;
    }
  }
}

void NGramIndex::pop(const std::vector<int32_t>& text) {
  const int32_t end = static_cast<int32_t>(text.size()) - 1;
  uint64_t hash = process_seed();
  for (int n = 1; n <= std::min(max_n_, end + 1); ++n) {
    hash = mix(hash, text[static_cast<size_t>(end - n + 1)]);
    if (n < min_n_) continue;
    Level& level = levels_[static_cast<size_t>(n - min_n_)];
    const size_t at = place(level, n, folded(hash), text.data() + end, text);
    const int32_t before = level.before.back();
    if (before < 0)
      erase(level, at);
    else if (latest_)
      level.slots[at].end = before;
  }
  for (Level& level : levels_) level.before.pop_back();
}

int32_t NGramIndex::find(int n, const int32_t* last, const std::vector<int32_t>& text) const {
  const Level& own = level(n);
  if (own.slots.empty()) return -1;
  uint64_t hash = process_seed();
  for (int i = 0; i < n; ++i) hash = mix(hash, last[-i]);
  return own.slots[place(own, n, folded(hash), last, text)].end;
}

int64_t NGramIndex::bytes() const {
  int64_t sum = 0;
  for (const Level& level : levels_)
    sum += static_cast<int64_t>(level.before.capacity() * sizeof(int32_t) + level.slots.capacity() * sizeof(Slot));
  return sum;
}

}  // namespace vivace
