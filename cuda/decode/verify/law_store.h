// Memory of the card for the laws that one sequence's draft is drawn from, by number. What is there stays until the
// next draft.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/core/memory.h"
#include "cuda/decode/verify/laws.h"

namespace vivace::cuda {

class LawStore {
 public:
  explicit LawStore(int device) : device_(device) {}
  ~LawStore();

  // A place for a law of at most `count` tokens; what was there is lost. Nothing on the card may be using it.
  CardLaw reserve(int node, int64_t count);
  // None: nothing was kept under this number.
  CardLaw find(int node) const;
  // At most `capacity` tokens and weights; gives how many there are.
  int read(int node, int32_t* ids, float* weights, int capacity) const;

 private:
  struct Entry {
    DeviceBuffer memory;
    int64_t count = 0;
  };
  int device_;
  std::vector<Entry> entries_;
};

}  // namespace vivace::cuda
