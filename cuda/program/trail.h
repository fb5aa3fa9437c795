// How far a run has come on the card, for errors that come after launches have returned: behind each op the stream
// writes a number to host memory, which is still there when nothing on the card is. An op takes some microseconds
// longer so; only the first run of a shape leaves a trail, or each with VIVACE_CUDA_TRAIL in the environment.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cuda/core/memory.h"
#include "cuda/core/stream.h"

namespace vivace::cuda {

class Trail {
 public:
  // A run of these ops begins; empty: it leaves no trail.
  void begin(std::vector<std::string> ops, Stream& stream);
  // Whether the last run left one.
  bool on() const { return !ops_.empty(); }
  // The next op has been given to the stream.
  void passed(Stream& stream);
  // What to say of the op that a lost card met: its name, or how to find it out.
  std::string where() const;

 private:
  std::vector<std::string> ops_;
  int32_t given_ = 0;
  PinnedBuffer host_;  // how many ops are over, then the numbers from 0 on
  DeviceBuffer numbers_;
};

}  // namespace vivace::cuda
