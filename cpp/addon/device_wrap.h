// What JavaScript may ask of a device library, and how it names a device: { library: path, index }.
#pragma once
#include <napi.h>

#include <memory>

#include "device/library.h"

namespace vivace {

// Null when `given` is no object: the CPU.
std::shared_ptr<const DeviceLibrary> read_device(const Napi::Value& given, int& index);

// devices(library): what the library finds on this machine.
Napi::Value list_devices(const Napi::CallbackInfo& info);
// deviceKernels(library): those that ran in this process, a line each (emulation only); for tests.
Napi::Value device_kernels(const Napi::CallbackInfo& info);

}  // namespace vivace
