// The kinds of KV caches that a program has met, and on the card what their policies say: caches of one kind have the
// same graphs.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/caches/device_kv.h"
#include "cuda/core/memory.h"

namespace vivace::cuda {

class DeviceCaches {
 public:
  // The number of the cache's kind, which has not been met before if it is what count() was. Throws OUT_OF_MEMORY.
  size_t find(const VivaceDeviceCache& cache);
  size_t count() const { return kinds_.size(); }
  const DeviceKv& operator[](size_t kind) const { return kinds_[kind]->kv; }
  int64_t bytes() const;  // on the card

 private:
  struct Kind {
    DeviceKv kv;  // without addresses of the card it says what the next ones are compared with
    std::vector<VivaceDevicePlace> places;
    std::vector<VivaceDevicePattern> patterns;
    std::vector<float> sink_angles;
    std::vector<int64_t> label_offsets;
    std::vector<int32_t> label_table;
    DeviceBuffer on_card;
    bool is(const VivaceDeviceCache& cache) const;
  };
  std::vector<std::unique_ptr<Kind>> kinds_;
};

}  // namespace vivace::cuda
