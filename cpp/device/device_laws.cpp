#include "device/device_laws.h"

namespace vivace {

DeviceLaws::DeviceLaws(std::shared_ptr<const DeviceLibrary> library, int device) : library_(std::move(library)) {
  VivaceDeviceError error{};
  check_device(library_->table().laws_create(device, &handle_, &error), error);
}

DeviceLaws::~DeviceLaws() {
  library_->table().laws_destroy(handle_);
}

StoredLaw DeviceLaws::read(int node) {
  VivaceDeviceError error{};
  const VivaceDeviceTable& table = library_->table();
  int32_t count = 0;
  check_device(table.laws_read(handle_, node, nullptr, nullptr, 0, &count, &error), error);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::vector<float> weights(static_cast<size_t>(count));
  check_device(table.laws_read(handle_, node, ids.data(), weights.data(), count, &count, &error), error);
  return StoredLaw(std::move(ids), std::move(weights));
}

}  // namespace vivace
