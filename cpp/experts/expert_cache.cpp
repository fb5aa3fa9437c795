#include "experts/expert_cache.h"

#include <algorithm>

namespace vivace {

ExpertCache::ExpertCache(Replacement kind, int capacity, int experts)
    : kind_(kind), capacity_(std::min(capacity, experts)), where_(static_cast<size_t>(experts), Where::nowhere) {}

bool ExpertCache::has(int expert) const {
  if (kind_ == Replacement::fixed) return expert < capacity_;
  const Where where = where_[static_cast<size_t>(expert)];
  return where == Where::once || where == Where::again;
}

int ExpertCache::use(int expert) {
  if (capacity_ == 0 || kind_ == Replacement::fixed) return -1;
  const int left = kind_ == Replacement::lru ? use_lru(expert) : use_arc(expert);
  held_ = static_cast<int>(list(Where::once).size() + list(Where::again).size());
  return left;
}

// Moves to the end of a list, from whichever it was in.
void ExpertCache::move(int expert, Where to) {
  Where& where = where_[static_cast<size_t>(expert)];
  if (where != Where::nowhere) {
    List& from = list(where);
    from.erase(std::find(from.begin(), from.end(), expert));
  }
  where = to;
  if (to != Where::nowhere) list(to).push_back(expert);
}

int ExpertCache::take_first(Where from, Where to) {
  const int first = list(from).front();
  move(first, to);
  return first;
}

int ExpertCache::use_lru(int expert) {
  int left = -1;
  if (!has(expert) && static_cast<int>(list(Where::once).size()) == capacity_)
    left = take_first(Where::once, Where::nowhere);
  move(expert, Where::once);
  return left;
}

// Makes room for one, if there is none.
int ExpertCache::replace(bool came_back) {
  const List &once = list(Where::once), &again = list(Where::again);
  if (static_cast<int>(once.size() + again.size()) < capacity_) return -1;
  const auto size = static_cast<double>(once.size());
  if (!once.empty() && (size > target_ || (came_back && size == target_)))
    return take_first(Where::once, Where::left_once);
  return take_first(Where::again, Where::left_again);
}

int ExpertCache::use_arc(int expert) {
  const List &once = list(Where::once), &again = list(Where::again);
  const List &left_once = list(Where::left_once), &left_again = list(Where::left_again);
  const Where where = where_[static_cast<size_t>(expert)];
  int left = -1;
  if (where == Where::left_once || where == Where::left_again) {
    const auto b1 = static_cast<double>(left_once.size()), b2 = static_cast<double>(left_again.size());
    if (where == Where::left_once)
      target_ = std::min<double>(capacity_, target_ + std::max(1.0, b2 / b1));
    else
      target_ = std::max(0.0, target_ - std::max(1.0, b1 / b2));
    left = replace(where == Where::left_again);
    move(expert, Where::again);
    return left;
  }
  if (where != Where::nowhere) {
    move(expert, Where::again);
    return left;
  }
  const auto capacity = static_cast<size_t>(capacity_);
  const size_t known = once.size() + again.size() + left_once.size() + left_again.size();
  if (once.size() + left_once.size() == capacity) {
    if (once.size() < capacity) {
      take_first(Where::left_once, Where::nowhere);
      left = replace(false);
    } else {
      left = take_first(Where::once, Where::nowhere);
    }
  } else if (known >= capacity) {
    if (known == 2 * capacity) take_first(Where::left_again, Where::nowhere);
    left = replace(false);
  }
  move(expert, Where::once);
  return left;
}

}  // namespace vivace
