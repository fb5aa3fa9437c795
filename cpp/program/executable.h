// A program ready to run on the CPU: fused, planned per row bucket, with its arena and its share of the thread pool.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/memory/arena.h"
#include "core/thread_pool.h"
#include "experts/expert_store.h"
#include "experts/routing_trace.h"
#include "program/plan.h"
#include "program/program.h"
#include "program/rewrite/panels.h"
#include "program/rewrite/parts.h"
#include "program/rounds/expert_layers.h"
#include "program/rounds/opening_layers.h"
#include "program/runner.h"

namespace vivace {

struct ExecutableOptions {
  Isa isa = Isa::baseline;
  int threads = 1;
  int64_t bytes_per_thread = 0;  // of matrices, read once per row: smaller runs have smaller teams; 0: none has
  bool fuse = true;
  std::shared_ptr<ExpertStore> experts;  // brings matrices of experts that have no data into memory
};

class Executable final : public Runner {
 public:
  // Weights that `base` has in the order that is read fastest are read there; one of the two runs at a time.
  Executable(Program program, const ExecutableOptions& options, const Executable* base = nullptr);

  const Program& program() const override { return program_; }
  double pack(int64_t bytes) override;
  void run(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch, PagedKv* kv,
           Draws* draws, const std::function<void()>& meanwhile = {}) override;
  int parts() const override { return static_cast<int>(parts_.list.size()); }
  int64_t carried_bytes() const override { return parts_.row_bytes; }
  void run_part(int part, std::byte* carried, int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings,
                const Batch& batch, PagedKv& kv, Draws* draws) override;
  RunnerSizes sizes() const override;
  void set_profiling(bool on) override { profile_.on = on; }
  std::vector<CallProfile> profile() const override { return profile_.entries(); }
  std::shared_ptr<RoutingTrace> routing() const override { return routing_; }
  std::shared_ptr<ExpertStore> experts() const override { return store_; }

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
  // The steps of runs of some size. In a round each needs its tensors again, which to work out takes longer than to
  // read.
  struct Prepared {
    int64_t rows = -1, outputs = -1;
    std::vector<Step> steps;
    std::vector<Bindable> bindables;
    // What they are set for.
    const std::byte* arena = nullptr;
    const Batch* batch = nullptr;
    PagedKv* kv = nullptr;
    size_t panels = 0;
    uint64_t used = 0;  // the run that used it last
  };
  Prepared& prepared_for(int64_t rows, int64_t outputs);
  // Calls of a run, and what its rows carry between parts: null, or of row r at carried + r · carried_bytes().
  struct Stretch {
    size_t begin, end;
    std::byte* carried;
    const std::vector<CarriedValue>*in, *out;
  };
  void run_stretch(const Stretch& stretch, int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings,
                   const Batch* batch, PagedKv* kv, Draws* draws, const std::function<void()>& meanwhile);
  // Values of all rows, to the arena or from it; by the whole team.
  void carry(const Stretch& stretch, bool in, int64_t rows, Team& team) const;
  // Members of a run's team.
  int threads_for(int64_t rows) const;
  void find_bindables(Prepared& prepared) const;
  void set_tensors(Prepared& prepared) const;
  static void join_steps(std::vector<Step>& steps);
  // One member's part of a step that routes rows, after it.
  void routed(size_t step, const OpRun& run, const Batch* batch);
  // The steps of a layer's experts, wave by wave, as they come into memory; false when one of them cannot be had.
  bool run_waves(const ExpertLayer& layer, int index, const std::vector<Step>& steps, Team& team);
  // Brings what the step's layer needs of an offloaded one into memory; false when it cannot be had.
  bool open_layer(const Step& step, const Batch& batch, PagedKv& kv, Team& team);
  void check_store() const;
  // Memory that ops want for what the cache holds now. Throws.
  void prepare_for(const Batch& batch, PagedKv& kv) const;

  ExecutableOptions options_;
  Program program_;
  ProgramParts parts_;
  std::shared_ptr<ThreadPool> pool_;
  Arena arena_;
  std::shared_ptr<Panels> panels_;
  std::map<std::pair<int64_t, int64_t>, Plan> plans_;
  const Plan* current_ = nullptr;
  std::vector<Step> steps_;  // without tensors
  std::vector<std::unique_ptr<Prepared>> prepared_;
  Batch batch_;
  uint64_t runs_ = 0;
  Profile profile_;
  ExpertLayers experts_;
  std::shared_ptr<RoutingTrace> routing_;  // of all programs that share weights
  std::shared_ptr<ExpertStore> store_;     // of these, too
  OpeningLayers opening_;
  int opened_ = -1;  // the offloaded layer of the run that was opened last
  bool more_waves_ = false, lost_ = false;
  std::vector<int32_t> counts_, ranks_;
  int64_t matrix_bytes_ = 0;
  size_t first_linear_ = 0;  // step: its work goes to whoever is free
};

}  // namespace vivace
