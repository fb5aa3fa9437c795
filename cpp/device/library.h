// The library that drives a kind of device, opened at run time: checked for its version, its errors made ours.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "device/table.h"

namespace vivace {

class DeviceLibrary {
 public:
  // Opens it once per process; it stays. Throws DEVICE_UNAVAILABLE.
  static std::shared_ptr<const DeviceLibrary> open(const std::string& path);

  const VivaceDeviceTable& table() const { return *table_; }
  const std::string& path() const { return path_; }
  // Throws DEVICE_UNAVAILABLE when the driver is missing or too old.
  std::vector<VivaceDeviceInfo> devices() const;
  // Throws DEVICE_UNAVAILABLE, with what was found, unless the device can be used.
  void require_device(int device) const;
  // Names of the kernels that ran in this process, a line each (emulation only).
  std::string kernels() const;

 private:
  DeviceLibrary(std::string path, const VivaceDeviceTable* table) : path_(std::move(path)), table_(table) {}
  std::string path_;
  const VivaceDeviceTable* table_;
};

// Throws what a function of the table has reported.
void check_device(int status, const VivaceDeviceError& error);

}  // namespace vivace
