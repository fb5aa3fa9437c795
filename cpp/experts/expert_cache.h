// Which experts of a layer stay: none, a fixed choice, the ones used last, or those that ARC keeps (Megiddo and Modha,
// 2003), which learns whether what was used lately or what is used often is worth keeping.
#pragma once
#include <cstdint>
#include <vector>

namespace vivace {

enum class Replacement { fixed, lru, arc };

class ExpertCache {
 public:
  // fixed: experts 0 to capacity − 1.
  ExpertCache(Replacement kind, int capacity, int experts);

  bool has(int expert) const;
  int held() const { return held_; }
  int capacity() const { return capacity_; }
  // A use. Gives the expert that leaves for it, or -1; afterwards `expert` is held, unless nothing ever changes.
  int use(int expert);

 private:
  enum class Where : uint8_t { nowhere, once, again, left_once, left_again };  // ARC's T1, T2, B1, B2
  using List = std::vector<int>;                                               // the one used longest ago first
  int use_lru(int expert);
  int use_arc(int expert);
  int replace(bool came_back);
  List& list(Where where) { return lists_[static_cast<int>(where) - 1]; }
  void move(int expert, Where to);
  int take_first(Where from, Where to);

  Replacement kind_;
  int capacity_, held_ = 0;
  double target_ = 0;  // of T1's size
  std::vector<Where> where_;
  List lists_[4];
};

}  // namespace vivace
