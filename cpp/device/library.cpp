#include "device/library.h"

#include <map>
#include <mutex>

#include "core/error.h"
#include "device/shared_library.h"

namespace vivace {

void check_device(int status, const VivaceDeviceError& error) {
  if (status != 0) throw Error(error.code, error.message, error.remedy);
}

std::shared_ptr<const DeviceLibrary> DeviceLibrary::open(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<const DeviceLibrary>> opened;
  std::lock_guard lock(mutex);
  const auto known = opened.find(path);
  if (known != opened.end()) return known->second;

  std::string why;
  void* library = open_library(path, why);
  if (library == nullptr)
    throw Error("DEVICE_UNAVAILABLE", "The device library " + path + " cannot be opened: " + why,
                "Install it again, or use device: 'cpu'.");
  const auto entry = reinterpret_cast<VivaceDeviceEntry>(find_symbol(library, VIVACE_DEVICE_ENTRY));
  const VivaceDeviceTable* table = entry == nullptr ? nullptr : entry();
  if (table == nullptr)
    throw Error("DEVICE_UNAVAILABLE", path + " is no device library of vivace: it has no " + VIVACE_DEVICE_ENTRY,
                "Install it again, or use device: 'cpu'.");
  if (table->version != VIVACE_DEVICE_TABLE_VERSION || table->size != sizeof(VivaceDeviceTable))
    throw Error("DEVICE_UNAVAILABLE",
                "The device library " + path + " has version " + std::to_string(table->version) + " with a table of " +
                    std::to_string(table->size) + " bytes; this addon wants version " +
                    std::to_string(VIVACE_DEVICE_TABLE_VERSION) + " with " + std::to_string(sizeof(VivaceDeviceTable)),
                "Install the same version of vivace and of its device library.");
  auto made = std::shared_ptr<const DeviceLibrary>(new DeviceLibrary(path, table));
  opened.emplace(path, made);
  return made;
}

std::vector<VivaceDeviceInfo> DeviceLibrary::devices() const {
  VivaceDeviceError error{};
  std::vector<VivaceDeviceInfo> list(32);
  int32_t count = 0;
  check_device(table_->devices(list.data(), static_cast<int32_t>(list.size()), &count, &error), error);
  if (count < static_cast<int32_t>(list.size())) list.resize(static_cast<size_t>(count));
  return list;
}

void DeviceLibrary::require_device(int device) const {
  const std::vector<VivaceDeviceInfo> list = devices();
  if (list.empty())
    throw Error("DEVICE_UNAVAILABLE", "The driver works, but this machine has no NVIDIA card",
                "Check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use device: 'cpu'.");
  if (device < 0 || device >= static_cast<int>(list.size()))
    throw Error("DEVICE_UNAVAILABLE",
                "There is no device " + std::to_string(device) + ", only 0 to " + std::to_string(list.size() - 1));
  const VivaceDeviceInfo& info = list[static_cast<size_t>(device)];
  if (info.unusable[0] != '\0')
    throw Error("DEVICE_UNAVAILABLE", std::string(info.name) + " cannot be used: " + info.unusable,
                "Use device: 'cpu'.");
}

std::string DeviceLibrary::kernels() const {
  std::string names(static_cast<size_t>(table_->kernels(nullptr, 0)), '\0');
  if (names.empty()) return names;
  table_->kernels(names.data(), static_cast<int32_t>(names.size()));
  names.resize(names.find('\0') == std::string::npos ? names.size() : names.find('\0'));
  return names;
}

}  // namespace vivace
