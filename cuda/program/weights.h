// Weights and constants of a program in one block of device memory, moved there a piece at a time. What linear alone
// reads comes into fragments on the card (cuda/quant/fragments.h).
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/core/memory.h"
#include "cuda/core/stream.h"
#include "program/program.h"

namespace vivace::cuda {

class Weights {
 public:
  // Gives every weight its place; equal memory is kept once. Nothing is allocated yet.
  void plan(const Program& program);
  int64_t bytes() const { return bytes_; }
  // Allocates at first. Copies the next `bytes` through two pinned buffers in turns; gives the share done.
  double load(int64_t bytes, Stream& stream);
  bool loaded() const { return next_ == parts_.size(); }
  // Device address of a value; null when it is no weight.
  std::byte* find(int value) const;
  // Whether it lies in fragments there.
  bool in_fragments(int value) const { return fragments_[static_cast<size_t>(value)]; }

 private:
  struct Part {
    const std::byte* from;
    int64_t offset, bytes;  // bytes as stored
    bool fragments;
    DType dtype;
    int64_t rows, columns;
  };
  void send(const Part& part, const std::byte* from, int64_t count, Stream& stream);

  static constexpr int64_t alignment = 256;
  static constexpr int64_t piece = int64_t{8} << 20;

  std::vector<Part> parts_;
  std::vector<int64_t> offsets_;  // by value, −1: none
  std::vector<bool> fragments_;   // by value
  int64_t bytes_ = 0, total_ = 0, done_ = 0;
  size_t next_ = 0;
  int64_t within_ = 0;  // bytes of parts_[next_] that are done
  int turn_ = 0;
  DeviceBuffer memory_, stored_;  // stored_: rows on their way to fragments
  PinnedBuffer staging_[2];
  Event ready_[2];
};

}  // namespace vivace::cuda
