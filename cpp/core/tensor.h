// A view of memory as rows of values. Everything an op reads or writes is one.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace vivace {

// [rows, columns], rows contiguous at `stride` bytes. Vectors (norm weights, biases, tables) have rows = 1.
struct Tensor {
  DType dtype = DType::F32;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;  // bytes from row to row
  std::byte* data = nullptr;
  bool panels = false;  // a weight in the executor's own order (ops/linear/panels.h): rows lie at no stride

  template <class T>
  T* row(int64_t index) const {
    return reinterpret_cast<T*>(data + index * stride);
  }
};

}  // namespace vivace
