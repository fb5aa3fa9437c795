// Where the n-grams of a growing text were before, for n in a range: O(n) per token to keep, O(1) to ask.
#pragma once
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

}  // namespace vivace
