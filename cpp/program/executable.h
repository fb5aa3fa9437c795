// A program ready to run on the CPU: fused, planned per row bucket, with its arena and its share of the thread pool.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/memory/arena.h"
#include "core/thread_pool.h"
#include "program/plan.h"
#include "program/program.h"
#include "program/rewrite/panels.h"
#include "program/runner.h"

namespace vivace {

struct ExecutableOptions {
  Isa isa = Isa::baseline;
  int threads = 1;
  bool fuse = true;
};

class Executable final : public Runner {
 public:
  // Weights that `base` has in the order that is read fastest are read there; one of the two runs at a time.
  Executable(Program program, const ExecutableOptions& options, const Executable* base = nullptr);

  const Program& program() const override { return program_; }
  double pack(int64_t bytes) override;
  void run(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch, PagedKv* kv,
           Draws* draws, const std::function<void()>& meanwhile = {}) override;
  RunnerSizes sizes() const override;
  void set_profiling(bool on) override { profile_.on = on; }
  std::vector<CallProfile> profile() const override { return profile_.entries(); }

 private:
  struct Step {
    Kernel kernel;
    OpRun run;
    const CallInfo* call;
    bool joins = false;  // begins without waiting for the step before it
  };
  // A value that a run may bind to memory of its own, and the tensors that show it.
  struct Bindable {
    int value;
    std::vector<Tensor*> tensors;
  };
  const Plan& plan_for(int64_t rows, int64_t outputs);
  // Makes the plan and the memory for this size, so that a run does not allocate. Throws.
  void prepare(int64_t rows, int64_t outputs);
  std::byte* address(int value) const;
  void find_bindables();
  void set_tensors(int64_t rows, int64_t outputs);
  void join_steps();
  // Memory that ops want for what the cache holds now. Throws.
  void prepare_for(const Batch& batch, PagedKv& kv) const;

  ExecutableOptions options_;
  Program program_;
  std::shared_ptr<ThreadPool> pool_;
  Arena arena_;
  std::shared_ptr<Panels> panels_;
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
  size_t set_panels_ = 0;
  Profile profile_;
  size_t first_linear_ = 0;  // step: its work goes to whoever is free
};

}  // namespace vivace
