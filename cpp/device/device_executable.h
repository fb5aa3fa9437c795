// A program on a device: the same values and calls as on the CPU, given to the device's library. Tokens are drawn here,
// on the host's threads, from the logits that the library leaves in host memory.
#pragma once
#include <memory>
#include <vector>

#include "device/library.h"
#include "program/runner.h"

namespace vivace {

struct DeviceOptions {
  std::shared_ptr<const DeviceLibrary> library;
  int device = 0;
  int threads = 1;  // that draw
  bool fuse = true;
};

class DeviceExecutable final : public Runner {
 public:
  // Throws DEVICE_UNAVAILABLE, OUT_OF_MEMORY, and what the planner finds wrong.
  DeviceExecutable(Program program, const DeviceOptions& options);
  ~DeviceExecutable() override;

  const Program& program() const override { return program_; }
  const void* place() const override;
  double pack(int64_t bytes) override;
  void run(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch, PagedKv* kv,
           const std::function<void(Team&)>& after, const std::function<void()>& meanwhile = {}) override;
  std::byte* address(int value) const override;
  RunnerSizes sizes() const override;
  void set_profiling(bool on) override { profile_.on = on; }
  std::vector<CallProfile> profile() const override { return profile_.entries(); }

 private:
  VivaceDeviceBatch describe(const Batch& batch, const PagedKv& kv);

  DeviceOptions options_;
  const VivaceDeviceTable& table_;
  Program program_;
  std::shared_ptr<ThreadPool> pool_;
  Profile profile_;
  std::string card_;
  void* handle_ = nullptr;
  double loaded_ = 0;
  // Of the run in progress.
  VivaceDeviceCache cache_{};
  std::vector<int32_t> sequences_, ids_;
  std::vector<void*> pages_;
  std::vector<VivaceDeviceBinding> bindings_;
  std::vector<double> seconds_;
};

}  // namespace vivace
