// Where the n-grams of a growing text were before, for n in a range: O(n) per token to keep, O(1) to ask; and how
// likely what followed there comes next.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace vivace {

class NGramIndex {
 public:
  static constexpr int most = 32;  // for max_n

  // `latest`: of several earlier occurrences the last one counts, otherwise the first one of all.
  NGramIndex(int min_n, int max_n, bool latest);
  // `text` was given one more token, or is about to lose its last one.
  void push(const std::vector<int32_t>& text);
  void pop(const std::vector<int32_t>& text);
  // The position where the n-gram that ends at `position` of the text ended before; -1: nowhere.
  int32_t before(int n, int64_t position) const { return level(n).before[static_cast<size_t>(position)]; }
  // The position where the n-gram that ends with `last[0]` ends in the text, the latest or earliest one; -1: nowhere.
  int32_t find(int n, const int32_t* last, const std::vector<int32_t>& text) const;
  int min_n() const { return min_n_; }
  int max_n() const { return max_n_; }
  int64_t bytes() const;

 private:
  // Open addressing: a slot is the hash of an n-gram and where it ended. Equal hashes are told apart by the text.
  struct Slot {
    uint32_t hash = 0;
    int32_t end = -1;
  };
  struct Level {
    std::vector<int32_t> before;
    std::vector<Slot> slots;
    size_t used = 0;
  };
  const Level& level(int n) const { return levels_[static_cast<size_t>(n - min_n_)]; }
  static size_t place(const Level& level, int n, uint32_t hash, const int32_t* last, const std::vector<int32_t>& text);
  static void grow(Level& level);
  static void erase(Level& level, size_t slot);

  int min_n_, max_n_;
  bool latest_;
  std::vector<Level> levels_;
};

// How likely a copy goes on to be right, by how many tokens of it were: a long match is another thing than a single
// token. Begins with what texts in general do and learns of the one at hand, a match of each length by itself.
class MatchOdds {
 public:
  static constexpr int64_t longest = 32;  // lengths above are not told apart

  // How many tokens up to text[end] are those up to source[place], `longest` at most. Both are places or -1.
  static int64_t length(const std::vector<int32_t>& text, int64_t end, const std::vector<int32_t>& source,
                        int64_t place) {
    int64_t same = 0;
    while (same < longest && same <= end && same <= place &&
           text[static_cast<size_t>(end - same)] == source[static_cast<size_t>(place - same)])
      ++same;
    return same;
  }
  // The token behind a match of this length was, or was not, what the copy said; `sign` -1 takes that back.
  void judge(int64_t length, bool right, int sign) {
    Rate& rate = rates_[bucket(length)];
    rate.told += sign;
    if (right) rate.right += sign;
  }
  // The probability that it is: (h + 2 b) / (t + 2) for h of t, b being what is believed before.
  double of(int64_t length) const {
    constexpr double believed[buckets] = {0.5, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95};
    const size_t own = bucket(length);
    return (static_cast<double>(rates_[own].right) + 2 * believed[own]) / static_cast<double>(rates_[own].told + 2);
  }

 private:
  static constexpr size_t buckets = 8;  // 0, 1, 2, 3, 4 to 5, 6 to 8, 9 to 15, more
  static size_t bucket(int64_t length) {
    constexpr int64_t ends[buckets - 1] = {0, 1, 2, 3, 5, 8, 15};
    return static_cast<size_t>(std::lower_bound(ends, ends + buckets - 1, length) - ends);
  }
  struct Rate {
    int64_t right = 0, told = 0;
  };
  Rate rates_[buckets];
};

}  // namespace vivace
