// What routers chose and what was predicted of them, recorded where somebody asks (lib/experts/trace.ts reads it).
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace vivace {

class RoutingTrace {
 public:
  bool on = false;

  void run(int64_t rows, bool begins) {
    if (on) words_.insert(words_.end(), {-1, static_cast<int32_t>(rows), begins ? 1 : 0});
  }
  // ids: I32 [rows, columns]. `layer`: of those with experts, from 0.
  void routed(int layer, bool predicted, const Tensor& ids) {
    if (!on) return;
    const auto* data = reinterpret_cast<const int32_t*>(ids.data);
    words_.insert(words_.end(),
                  {2 * layer + (predicted ? 1 : 0), static_cast<int32_t>(ids.rows), static_cast<int32_t>(ids.columns)});
    words_.insert(words_.end(), data, data + ids.rows * ids.columns);
  }
  std::vector<int32_t> take() { return std::exchange(words_, {}); }

 private:
  std::vector<int32_t> words_;
};

}  // namespace vivace
