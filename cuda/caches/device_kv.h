// How the pages of a KV cache are divided, as kernels are told.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "cuda/caches/device_labels.h"
#include "device/table.h"

namespace vivace::cuda {

// Bytes. A page has [layers][ K: [kv_heads][page_size][key_row] | V: … ] unless there are places.
struct DeviceKv {
  int layers = 0, kv_heads = 0, key_dim = 0, value_dim = 0, page_size = 0;
  DType key_dtype = DType::F16, value_dtype = DType::F16;
  int64_t key_row = 0, value_row = 0, value_offset = 0, layer = 0;
  // Under a policy; see VivaceDeviceCache. Arrays belong to whom the cache was shown (device_caches.h).
  int groups = 1;
  const VivaceDevicePlace* places = nullptr;      // on the card
  const VivaceDevicePattern* patterns = nullptr;  // on the host
  const float* sink_angles = nullptr;             // on the card
  int angles = 0;
  DeviceLabels labels;

  bool operator==(const DeviceKv&) const = default;
};

}  // namespace vivace::cuda
