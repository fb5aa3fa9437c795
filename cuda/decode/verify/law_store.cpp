#include "cuda/decode/verify/law_store.h"

#include <algorithm>

#include "cuda/core/error.h"

namespace vivace::cuda {
namespace {

constexpr int64_t head_bytes = 256;

CardLaw law_in(std::byte* base, int64_t count) {
  auto* ids = reinterpret_cast<int32_t*>(base + head_bytes);
  return {reinterpret_cast<LawHead*>(base), ids, reinterpret_cast<float*>(ids + count)};
}

}  // namespace

LawStore::~LawStore() {
  cudaSetDevice(device_);
}

CardLaw LawStore::reserve(int node, int64_t count) {
  if (node < 0) throw Error("INTERNAL", "laws: no such number");
  if (static_cast<size_t>(node) >= entries_.size()) entries_.resize(static_cast<size_t>(node) + 1);
  Entry& entry = entries_[static_cast<size_t>(node)];
  entry.memory.reserve(head_bytes + count * 8);
  entry.count = count;
  return law_in(entry.memory.data(), count);
}

CardLaw LawStore::find(int node) const {
  if (node < 0 || static_cast<size_t>(node) >= entries_.size()) return {};
  const Entry& entry = entries_[static_cast<size_t>(node)];
  if (entry.memory.data() == nullptr) return {};
  return law_in(entry.memory.data(), entry.count);
}

int LawStore::read(int node, int32_t* ids, float* weights, int capacity) const {
  const CardLaw law = find(node);
  if (law.head == nullptr) return 0;
  check(cudaSetDevice(device_), "cudaSetDevice");
  const auto fetch = [](void* to, const void* from, size_t bytes) {
    check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
  };
  LawHead head{};
  fetch(&head, law.head, sizeof(head));
  const int wanted = std::min(capacity, head.count);
  if (wanted <= 0) return head.count;
  fetch(weights, law.weights, static_cast<size_t>(wanted) * 4);
  if (head.dense == 0) fetch(ids, law.ids, static_cast<size_t>(wanted) * 4);
  for (int i = 0; i < wanted && head.dense != 0; ++i) ids[i] = i;
  return head.count;
}

}  // namespace vivace::cuda
