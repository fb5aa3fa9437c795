// A program ready to run on the CPU: fused, planned per row bucket, with its arena and its share of the thread pool.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/memory/arena.h"
#include "program/plan.h"
#include "program/profile.h"
#include "program/program.h"
#include "program/rewrite/panels.h"

namespace vivace {

struct ExecutableOptions {
  Isa isa = Isa::baseline;
  int threads = 1;
  bool fuse = true;
};

// Memory of a run's inputs (by value id) and, where the caller wants them outside the arena, outputs.
struct RunBinding {
  int value;
  std::byte* data;
};

class Executable {
 public:
  Executable(Program program, const ExecutableOptions& options);

  const Program& program() const { return program_; }
  int find_value(const std::string& name) const;  // -1: none
  int64_t arena_bytes() const { return arena_.size(); }
  int threads() const { return options_.threads; }
  Isa isa() const { return options_.isa; }

  // Rewrites the next `bytes` of weights in the order that is read fastest; gives the share done. Not during a run.
  double pack(int64_t bytes);
  int64_t packed_bytes() const { return panels_ ? panels_->bytes() : 0; }
  int64_t released_bytes() const { return panels_ ? panels_->released() : 0; }

  // Makes the plan and the memory for this size, so that run() does not allocate. Throws.
  void prepare(int64_t rows, int64_t outputs);
  // Runs every call; `after` is called by every member of the team at the end (sampling), may be empty. `meanwhile`,
  // unless empty, is called by one member when the others have work for a while, or when the run must wait; perhaps
  // twice. The batch is copied; what it points to must stay until the end.
  void run(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch, PagedKv* kv,
           const std::function<void(Team&)>& after, const std::function<void()>& meanwhile = {});
  // Where a value lies after prepare() for the same size (null when it is not in the arena).
  std::byte* address(int value) const;

  void set_profiling(bool on) { profile_.on = on; }
  std::vector<CallProfile> profile() const { return profile_.entries(); }

 private:
  struct Step {
    Kernel kernel;
    OpRun run;
    const CallInfo* call;
  };
  // A value that a run may bind to memory of its own, and the tensors that show it.
  struct Bindable {
    int value;
    std::vector<Tensor*> tensors;
  };
  const Plan& plan_for(int64_t rows, int64_t outputs);
  void find_bindables();
  void set_tensors(int64_t rows, int64_t outputs);

  ExecutableOptions options_;
  Program program_;
  std::shared_ptr<ThreadPool> pool_;
  Arena arena_;
  std::unique_ptr<Panels> panels_;
  std::map<std::pair<int64_t, int64_t>, Plan> plans_;
  const Plan* current_ = nullptr;
  std::vector<Step> steps_;
  std::vector<Bindable> bindables_;
  Batch batch_;
  // What the steps' tensors are set for; they lie all over the caches by then, so they are only touched on a change.
  int64_t set_rows_ = -1, set_outputs_ = -1;
  const std::byte* set_arena_ = nullptr;
  const Batch* set_batch_ = nullptr;
  PagedKv* set_kv_ = nullptr;
  Profile profile_;
  size_t first_linear_ = 0;  // step: its work goes to whoever is free
};

}  // namespace vivace
