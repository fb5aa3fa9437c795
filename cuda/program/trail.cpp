#include "cuda/program/trail.h"

#include <cstring>

namespace vivace::cuda {

void Trail::begin(std::vector<std::string> ops, Stream& stream) {
  ops_ = std::move(ops);
  given_ = 0;
  if (ops_.empty()) return;
  const int64_t bytes = static_cast<int64_t>(ops_.size() + 1) * 4;
  host_.reserve(4 + bytes);
  std::memset(host_.data(), 0, 4);
  if (bytes <= numbers_.size()) return;
  numbers_.reserve(bytes);
  for (int32_t i = 0; i <= static_cast<int32_t>(ops_.size()); ++i) std::memcpy(host_.data() + 4 + 4 * i, &i, 4);
  stream.copy_to_device(numbers_.data(), host_.data() + 4, bytes);
}

void Trail::passed(Stream& stream) {
  if (ops_.empty()) return;
  ++given_;
  stream.copy_to_host(host_.data(), numbers_.data() + 4 * given_, 4);
}

std::string Trail::where() const {
  if (ops_.empty()) return "in a run that leaves no trail; with VIVACE_CUDA_TRAIL=1 in the environment its op is named";
  int32_t over = 0;
  std::memcpy(&over, host_.data(), 4);
  const size_t at = static_cast<size_t>(over);
  if (at >= ops_.size()) return "after the last op of a run, " + ops_.back();
  return "in op " + ops_[at] + ", call " + std::to_string(at + 1) + " of " + std::to_string(ops_.size());
}

}  // namespace vivace::cuda
