// Which page holds which piece of which text: a tree of full pages, where the path to a page is the text up to its end.
// Found by a hash that is chained along the path; a hit is compared token by token, and its parent is known by
// identity, so two texts are never taken for each other, whatever their hashes are.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace vivace {

class PrefixTree {
 public:
  static constexpr int32_t none = -1;

  // Hashes of `hash_bits` bits.
  PrefixTree(int page_size, int hash_bits);

  int64_t size() const { return static_cast<int64_t>(nodes_.size() - roots_.size()); }
  // The root of all texts under a salt, or none.
  int32_t root(const std::string& salt) const;
  // The same, made when there is none. It goes with its last page.
  int32_t make_root(const std::string& salt);
  // The page behind `parent`, a page or a root, that holds these tokens; or none.
  int32_t find(int32_t parent, const int32_t* tokens) const;
  // There must be no such page.
  void add(int32_t parent, const int32_t* tokens, int32_t page);
  // Removes a page and all that lie behind it; their ids, the page's own last.
  std::vector<int32_t> remove(int32_t page);
  // Removes all.
  std::vector<int32_t> clear();

 private:
  struct Node {
    uint64_t hash = 0;
    int32_t parent = none, first_child = none, next = none, previous = none;  // the last two: children of its parent
    std::vector<int32_t> tokens;
    std::string salt;  // of roots
  };
  uint64_t hash_of(uint64_t before, const int32_t* tokens) const;

  int page_size_;
  uint64_t seed_, mask_;
  std::unordered_map<int32_t, Node> nodes_;  // by page; roots have ids below none
  std::unordered_map<std::string, int32_t> roots_;
  std::unordered_multimap<uint64_t, int32_t> pages_;  // by hash
  int32_t next_root_ = none - 1;
};

}  // namespace vivace
