// Pages of a KV cache in a device's memory.
#pragma once
#include "caches/page_store.h"
#include "device/library.h"

namespace vivace {

// What PageStore::place and Runner::place say of a device.
inline const void* place_of(const DeviceLibrary& library, int device) {
  return reinterpret_cast<const char*>(&library.table()) + device;
}

// Throws DEVICE_UNAVAILABLE.
std::unique_ptr<PageStore> device_pages(std::shared_ptr<const DeviceLibrary> library, int device);

}  // namespace vivace
