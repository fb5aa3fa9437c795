// Labels of keys, by which rows choose the cells that they attend to, as kernels are told of them
// (cpp/caches/labels/labels.h).
#pragma once
#include <cstdint>

namespace vivace::cuda {

struct DeviceLabels {
  int channels = 0, bits = 0, sets = 0;  // no channels: there are none
  int tokens = 0, share = 0, threshold = 0, recent = 0, sinks = 0;
  bool grouped = false;
  int64_t bytes = 0;                 // of one set in a page
  const int64_t* offsets = nullptr;  // [layers] in a page, −1: the layer has none; on the host
  const int32_t* table = nullptr;    // [layers, sets, channels] on the card

  bool operator==(const DeviceLabels&) const = default;
};

}  // namespace vivace::cuda
