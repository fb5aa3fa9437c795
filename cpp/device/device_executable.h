// A program on a device: the same values and calls as on the CPU, given to the device's library, which draws tokens,
// too. What it has no kernels for is drawn here, on the host's threads, from the rows of logits that the library then
// copies.
#pragma once
#include <memory>
#include <vector>

#include "core/thread_pool.h"
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
           Draws* draws, const std::function<void()>& meanwhile = {}) override;
  RunnerSizes sizes() const override;
  void set_profiling(bool on) override { profile_.on = on; }
  std::vector<CallProfile> profile() const override { return profile_.entries(); }

 private:
  VivaceDeviceBatch describe(const Batch& batch, const PagedKv& kv);
  void describe(Draws& draws);
  void describe(size_t output, Sampler& sampler, const std::vector<int32_t>& path, bool here, SampleResult& result);
  void describe(const Walk& walk);
  void take(Draws& draws);
  bool take(size_t output, Sampler& sampler, SampleResult& result);
  void take(Walk& walk, Drawn& drawn);

  DeviceOptions options_;
  const VivaceDeviceTable& table_;
  Program program_;
  std::shared_ptr<ThreadPool> pool_;
  Profile profile_;
  std::string card_;
  void* handle_ = nullptr;
  DeviceExecutable* base_;
  double loaded_ = 0;
  double waited_ = 0;  // seconds between a program's start and its end
  // Of the run in progress.
  VivaceDeviceCache cache_{};
  std::vector<int32_t> sequences_, ids_;
  std::vector<void*> pages_;
  std::vector<VivaceDeviceBinding> bindings_;
  std::vector<double> seconds_;
  std::vector<DrawState> states_;
  std::vector<VivaceDeviceDraw> draws_;
  std::vector<std::vector<VivaceDeviceLaw>> laws_;  // by walk that the card verifies
  std::vector<VivaceDeviceWalk> walks_;
  std::vector<VivaceDeviceChoice> choices_;
};

}  // namespace vivace
