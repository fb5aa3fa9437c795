// A program on a device: the same values and calls as on the CPU, given to the device's library, which draws tokens
// and verifies drafts, too. Here, on the host's threads and from the rows of logits that the library then copies, are
// drawn drafts for a target elsewhere, as their laws must be here, and trees of heads whose sampler asks for penalties.
#pragma once
#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "device/device_rows.h"
#include "device/library.h"
#include "program/runner.h"

namespace vivace {

struct DeviceOptions {
  std::shared_ptr<const DeviceLibrary> library;
  int device = 0;
  int threads = 1;  // that draw what the card does not
  bool fuse = true;
};

class DeviceExecutable final : public Runner {
 public:
  // Throws DEVICE_UNAVAILABLE, OUT_OF_MEMORY, and what the planner finds wrong.
  // Weights that `base`, on the same device, has there are read there.
  DeviceExecutable(Program program, const DeviceOptions& options, DeviceExecutable* base = nullptr);
  ~DeviceExecutable() override;

  const Program& program() const override { return program_; }
  const void* place() const override;
  double pack(int64_t bytes) override;
  void run(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch, PagedKv* kv,
           Draws* draws, const std::function<void()>& meanwhile = {}) override {
    run_on(rows, outputs, bindings, batch, kv, draws, meanwhile, {});
  }
  void run_on(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch, PagedKv* kv,
              Draws* draws, const std::function<void()>& meanwhile, const NextRun& next) override;
  void drop() override;
  RunnerSizes sizes() const override;
  void set_profiling(bool on) override { profile_.on = on; }
  std::vector<CallProfile> profile() const override { return profile_.entries(); }

 private:
  // What the card is told of a run's draws, and what it says.
  struct Started {
    std::vector<DrawState> states;
    std::vector<VivaceDeviceDraw> draws;
    std::vector<std::vector<VivaceDeviceLaw>> laws;  // by walk that the card verifies
    std::vector<VivaceDeviceWalk> walks;
    std::vector<VivaceDeviceChoice> choices;
  };

  void start(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch, PagedKv* kv,
             const Draws* draws, int behind);
  void finish();
  bool can_follow() const;
  const uint8_t* mark_drafts(const Batch& batch, const Draws* draws);
  void describe(const Draws& draws, int behind);
  void describe(size_t output, Sampler& sampler, const std::vector<int32_t>& path);
  void describe(size_t output, const DraftRecord& draft, int behind);
  void describe(const Walk& walk, const std::vector<std::vector<int32_t>>& paths);
  void describe_readings(const Walk& walk, const std::vector<std::vector<int32_t>>& paths, VivaceDeviceWalk& given);
  void limit(const Walk& walk);
  static int64_t levels_of(const Draws& draws);
  size_t first_draw(const TreeRows& rows) const { return static_cast<size_t>(rows.output * levels_); }
  void describe(const TreeRows& rows);
  void describe_levels(const TreeRows& rows);
  void take(Draws& draws);
  bool take(size_t output, Sampler& sampler, Drawn& drawn);
  void take(Walk& walk, Drawn& drawn);
  void take(const TreeRows& rows, Drawn& drawn);
  void take_levels(const TreeRows& rows, Drawn& drawn);
  SampleError children_of(size_t draw, std::vector<TokenLogprob>& children) const;

  DeviceOptions options_;
  const VivaceDeviceTable& table_;
  Program program_;
  std::shared_ptr<ThreadPool> pool_;
  Profile profile_;
  std::string card_;
  void* handle_ = nullptr;
  DeviceExecutable* base_;
  double loaded_ = 0;
  int64_t all_queued_ = 0;
  int tokens_ = -1;     // the input of that name
  int64_t levels_ = 1;  // rows of logits that lie side by side in a row of the run that is described
  // Of the run in progress, and of the one behind it.
  Started runs_[2];
  Started* run_ = &runs_[0];  // the one that is described, or whose results are taken
  bool queued_ = false;       // the one behind it was started
  DeviceRows rows_;
  std::vector<uint8_t> drafted_;
  std::vector<VivaceDeviceBinding> bindings_;
  std::vector<double> seconds_;
};

}  // namespace vivace
