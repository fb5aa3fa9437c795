// Weights of `linear` rewritten in panel order (ops/linear/panels.h), a few at a time, by the whole team: the one copy
// that a model makes of its weights. The file's pages are given back as soon as a weight is written.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/memory/arena.h"
#include "core/thread_pool.h"
#include "program/program.h"

namespace vivace {

// How many inputs of an op, from its second on, may be weights in panel order.
int weights_in_panels(const OpInfo& op);

// The kernel that writes panels for a level.
Kernel panel_packer(Isa isa);

class Panels {
 public:
  // Every weight that only has a faster order is chosen, except for those that `base`, of another program on the same
  // files, has chosen; nothing is written yet.
  Panels(const Program& program, Isa isa, std::shared_ptr<const Panels> base = {});

  // Writes the next weights, at least `bytes` in all unless fewer are left. Throws OUT_OF_MEMORY.
  void pack(const Program& program, ThreadPool& pool, int threads, int64_t bytes);
  bool done() const { return next_ == jobs_.size(); }
  // Of 1.
  double progress() const { return total_ == 0 ? 1 : static_cast<double>(bytes()) / static_cast<double>(total_); }

  // The panels of a weight, or null as long as it lies as in its file.
  const std::byte* find(const ValueInfo& weight) const;
  // Weights written so far, the other program's included.
  size_t written() const { return next_ + (base_ ? base_->written() : 0); }
  int64_t bytes() const { return packed_; }
  // Bytes in files that are not read any more.
  int64_t released() const { return released_; }

 private:
  struct Job {
    int value;
    const std::byte* data;  // of the weight, which has so many rows
    int64_t rows, offset, bytes;
  };
  bool chosen(const ValueInfo& weight) const;
  std::vector<Job> jobs_;  // ascending offsets
  size_t next_ = 0;
  int64_t total_ = 0;
  std::atomic<int64_t> packed_ = 0, released_ = 0;  // asked for while weights are written
  Isa isa_;
  std::shared_ptr<const Panels> base_;
  Arena memory_;
};

}  // namespace vivace
