// Laws of a draft in a device's memory: a draft model's rounds leave them there, and a target on the same device
// verifies the draft without them having left it.
#pragma once
#include <memory>

#include "decode/verify/proposal.h"
#include "device/library.h"

namespace vivace {

class DeviceLaws final : public LawsElsewhere {
 public:
  // Throws what the library finds wrong.
  DeviceLaws(std::shared_ptr<const DeviceLibrary> library, int device);
  ~DeviceLaws() override;
  DeviceLaws(const DeviceLaws&) = delete;
  DeviceLaws& operator=(const DeviceLaws&) = delete;

  void* handle() const { return handle_; }
  StoredLaw read(int node) override;

 private:
  std::shared_ptr<const DeviceLibrary> library_;
  void* handle_ = nullptr;
};

}  // namespace vivace
