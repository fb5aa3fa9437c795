// Weights and constants of a program in one block of device memory, moved there a piece at a time. What
// products alone read comes into fragments on the card (cuda/quant/fragments.h).
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "cuda/core/memory.h"
#include "cuda/program/upload.h"
#include "program/program.h"

namespace vivace::cuda {

class Weights {
 public:
  // Gives every weight its place; equal memory is kept once, and not again where `base` has it. Nothing is allocated
  // yet.
  void plan(const Program& program, std::shared_ptr<const Weights> base);
  int64_t bytes() const { return bytes_; }
  int64_t sent() const { return upload_ != nullptr ? upload_->sent() : sent_; }
  // Allocates at first. Sends the next `bytes`, or what takes most_time, so that whoever waits may stop; gives the
  // share done.
  double load(int64_t bytes);
  bool loaded() const { return next_ == parts_.size() && (!base_ || base_->loaded()); }
  // Device address of a value; null when it is no weight.
  std::byte* find(int value) const;
  // Whether it lies in fragments there.
  bool in_fragments(int value) const { return fragments_[static_cast<size_t>(value)]; }

 private:
  // Host memory, its size, and whether it comes into fragments.
  using Source = std::tuple<const std::byte*, int64_t, bool>;
  // Device address; null when it is not here.
  std::byte* find(const Source& source) const;
  bool has(const Source& source) const { return known_.count(source) != 0 || (base_ && base_->has(source)); }

  struct Part {
    const std::byte* from;
    int64_t offset, bytes;  // bytes as stored
    bool fragments;
    DType dtype;
    int64_t rows, columns;
  };
  void send(const Part& part, int64_t count);

  static constexpr int64_t alignment = 256;
  static constexpr std::chrono::milliseconds most_time{50};

  std::vector<Part> parts_;
  std::map<Source, int64_t> known_;  // offsets
  std::vector<Source> sources_;      // by value; null: none
  std::vector<bool> fragments_;      // by value
  int64_t bytes_ = 0, total_ = 0, done_ = 0;
  size_t next_ = 0;
  int64_t within_ = 0;  // bytes of parts_[next_] that are done
  int64_t sent_ = 0;
  DeviceBuffer memory_;
  std::shared_ptr<const Weights> base_;
  std::unique_ptr<Upload> upload_;  // while weights are loaded
};

}  // namespace vivace::cuda
