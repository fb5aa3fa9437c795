#include "decode/draft/datastore/suffix_array.h"

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace vivace {
namespace {

constexpr int32_t check_every = 1 << 16;

// One level of the recursion. A suffix is of type S when it is smaller than the next one, otherwise of type L; the
// empty one after the end is the smallest. Leftmost S suffixes (S after L) are "LMS".
class Level {
 public:
  Level(const int32_t* text, int32_t size, int32_t alphabet, int32_t* sorted, const Watch& watch)
      : text_(text), size_(size), sorted_(sorted), watch_(watch), small_(static_cast<size_t>(size)) {
    counts_.resize(static_cast<size_t>(alphabet));
    for (int32_t i = 0; i < size; ++i) ++counts_[static_cast<size_t>(text[i])];
    for (int32_t i = size - 2; i >= 0; --i)
      small_[static_cast<size_t>(i)] =
          text[i] < text[i + 1] || (text[i] == text[i + 1] && small_[static_cast<size_t>(i) + 1]);
  }

  // `top`: progress is told; the levels beneath count as one step.
  void run(bool top) {
    const int32_t names = sort_lms_blocks();
    if (top) watch_.reached(0.4);
    sort_lms_suffixes(names);
    if (top) watch_.reached(0.65);
    // The first lms_ places hold the LMS suffixes in order: from these all others follow.
    std::fill(sorted_ + lms_, sorted_ + size_, -1);
    to_ends();
    for (int32_t i = lms_ - 1; i >= 0; --i) {
      const int32_t suffix = sorted_[i];
      sorted_[i] = -1;
      sorted_[--bucket_[static_cast<size_t>(text_[suffix])]] = suffix;
    }
    induce();
  }

 private:
  bool small(int32_t i) const { return small_[static_cast<size_t>(i)]; }
  bool is_lms(int32_t i) const { return i > 0 && small(i) && !small(i - 1); }

  void to_begins() {
    bucket_.resize(counts_.size());
    int32_t sum = 0;
    for (size_t letter = 0; letter < counts_.size(); ++letter) {
      bucket_[letter] = sum;
      sum += counts_[letter];
    }
  }
  void to_ends() {
    bucket_.resize(counts_.size());
    int32_t sum = 0;
    for (size_t letter = 0; letter < counts_.size(); ++letter) bucket_[letter] = sum += counts_[letter];
  }

  // With LMS suffixes at the ends of their buckets: L suffixes from left to right, then S suffixes from right to left.
  void induce() {
    to_begins();
    sorted_[bucket_[static_cast<size_t>(text_[size_ - 1])]++] = size_ - 1;  // what comes before the empty suffix
    for (int32_t i = 0; i < size_; ++i) {
      if (i % check_every == 0) watch_.check();
      const int32_t before = sorted_[i] - 1;
      if (before >= 0 && !small(before)) sorted_[bucket_[static_cast<size_t>(text_[before])]++] = before;
    }
    to_ends();
    for (int32_t i = size_ - 1; i >= 0; --i) {
      if (i % check_every == 0) watch_.check();
      const int32_t before = sorted_[i] - 1;
      if (before >= 0 && small(before)) sorted_[--bucket_[static_cast<size_t>(text_[before])]] = before;
    }
  }

  // A block is the text from one LMS place up to the next one, both included.
  bool same_block(int32_t a, int32_t b) const {
    for (int32_t i = 0;; ++i) {
      if (a + i >= size_ || b + i >= size_) return false;  // only one block can reach the end
      const bool end_a = i > 0 && is_lms(a + i), end_b = i > 0 && is_lms(b + i);
      if (text_[a + i] != text_[b + i] || end_a != end_b) return false;
      if (end_a) return true;
    }
  }

  // Sorts LMS blocks and names them by rank; the names in the order of the text fill the last lms_ places. Returns how
  // many names there are.
  int32_t sort_lms_blocks() {
    std::fill(sorted_, sorted_ + size_, -1);
    to_ends();
    for (int32_t i = size_ - 1; i > 0; --i)
      if (is_lms(i)) sorted_[--bucket_[static_cast<size_t>(text_[i])]] = i;
    induce();
    for (int32_t i = 0; i < size_; ++i)
      if (is_lms(sorted_[i])) sorted_[lms_++] = sorted_[i];
    std::fill(sorted_ + lms_, sorted_ + size_, -1);
    int32_t names = 0;
    for (int32_t i = 0; i < lms_; ++i) {
      if (i % check_every == 0) watch_.check();
      if (i == 0 || !same_block(sorted_[i - 1], sorted_[i])) ++names;
      sorted_[lms_ + sorted_[i] / 2] = names - 1;  // LMS places are two apart at least
    }
    int32_t to = size_;
    for (int32_t i = size_ - 1; i >= lms_; --i)
      if (sorted_[i] >= 0) sorted_[--to] = sorted_[i];
    return names;
  }

  // Fills the first lms_ places with the LMS suffixes in order.
  void sort_lms_suffixes(int32_t names) {
    int32_t* named = sorted_ + size_ - lms_;
    if (names == lms_) {
      for (int32_t i = 0; i < lms_; ++i) sorted_[named[i]] = i;
    } else {
      Level(named, lms_, names, sorted_, watch_).run(false);
    }
    int32_t to = 0;
    for (int32_t i = 1; i < size_; ++i)
      if (is_lms(i)) named[to++] = i;
    for (int32_t i = 0; i < lms_; ++i) sorted_[i] = named[sorted_[i]];
  }

  const int32_t* text_;
  int32_t size_;
  int32_t* sorted_;
  const Watch& watch_;
  std::vector<bool> small_;
  std::vector<int32_t> counts_, bucket_;
  int32_t lms_ = 0;
};

}  // namespace

void Watch::check() const {
  if (abort_ != nullptr && abort_->load(std::memory_order_relaxed) != 0) throw Error("ABORTED", "The work was aborted");
}

void suffix_array(const int32_t* text, int32_t size, int32_t alphabet, int32_t* sorted, const Watch& watch) {
  if (size > 0) Level(text, size, alphabet, sorted, watch).run(true);
}

}  // namespace vivace
