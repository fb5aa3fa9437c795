#include "caches/prefix_tree.h"

#include <algorithm>
#include <limits>
#include <random>

namespace vivace {
namespace {

uint64_t mixed(uint64_t hash, uint32_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio
  return hash ^ (hash >> 32);
}

}  // namespace

PrefixTree::PrefixTree(int page_size, int hash_bits)
    : page_size_(page_size), mask_(hash_bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << hash_bits) - 1) {
  // Nobody outside can choose texts that fall on each other.
  std::random_device random;
  seed_ = uint64_t{random()} << 32 | random();
}

uint64_t PrefixTree::hash_of(uint64_t before, const int32_t* tokens) const {
  uint64_t hash = before;
  for (int i = 0; i < page_size_; ++i) hash = mixed(hash, static_cast<uint32_t>(tokens[i]));
  return hash & mask_;
}

int32_t PrefixTree::root(const std::string& salt) const {
  const auto known = roots_.find(salt);
  return known == roots_.end() ? none : known->second;
}

int32_t PrefixTree::make_root(const std::string& salt) {
  const int32_t known = root(salt);
  if (known != none) return known;
  while (nodes_.count(next_root_) > 0)
    next_root_ = next_root_ == std::numeric_limits<int32_t>::min() ? none - 1 : next_root_ - 1;
  Node& made = nodes_[next_root_];
  made.hash = seed_;
  for (const char letter : salt) made.hash = mixed(made.hash, static_cast<unsigned char>(letter));
  made.hash &= mask_;
  made.salt = salt;
  roots_.emplace(salt, next_root_);
  return next_root_;
}

int32_t PrefixTree::find(int32_t parent, const int32_t* tokens) const {
  const auto [begin, end] = pages_.equal_range(hash_of(nodes_.at(parent).hash, tokens));
  for (auto at = begin; at != end; ++at) {
    const Node& node = nodes_.at(at->second);
    if (node.parent == parent && std::equal(node.tokens.begin(), node.tokens.end(), tokens)) return at->second;
  }
  return none;
}

void PrefixTree::add(int32_t parent, const int32_t* tokens, int32_t page) {
  Node node;
  Node& before = nodes_.at(parent);
  node.hash = hash_of(before.hash, tokens);
  node.parent = parent;
  node.next = before.first_child;
  node.tokens.assign(tokens, tokens + page_size_);
  pages_.emplace(node.hash, page);
  if (node.next != none) nodes_.at(node.next).previous = page;
  before.first_child = page;
  nodes_.emplace(page, std::move(node));
}

std::vector<int32_t> PrefixTree::remove(int32_t page) {
  const Node top = nodes_.at(page);
  Node& parent = nodes_.at(top.parent);
  (top.previous == none ? parent.first_child : nodes_.at(top.previous).next) = top.next;
  if (top.next != none) nodes_.at(top.next).previous = top.previous;
  if (top.parent < none && parent.first_child == none) {
    roots_.erase(parent.salt);
    nodes_.erase(top.parent);
  }
  std::vector<int32_t> removed{page};
  for (size_t i = 0; i < removed.size(); ++i)
    for (int32_t child = nodes_.at(removed[i]).first_child; child != none; child = nodes_.at(child).next)
      removed.push_back(child);
  for (const int32_t one : removed) {
    const auto [begin, end] = pages_.equal_range(nodes_.at(one).hash);
    pages_.erase(std::find_if(begin, end, [&](const auto& entry) { return entry.second == one; }));
    nodes_.erase(one);
  }
  std::reverse(removed.begin(), removed.end());
  return removed;
}

std::vector<int32_t> PrefixTree::clear() {
  std::vector<int32_t> removed;
  for (const auto& [id, node] : nodes_)
    if (id > none) removed.push_back(id);
  nodes_.clear();
  roots_.clear();
  pages_.clear();
  return removed;
}

}  // namespace vivace
