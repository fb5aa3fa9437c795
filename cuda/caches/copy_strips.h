// Copies runs of bytes within the card's memory, all at once.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "device/table.h"

namespace vivace::cuda {

// `strips` lie on the card; none overlaps another.
void copy_strips(const VivaceDeviceStrip* strips, int64_t count, cudaStream_t stream);

}  // namespace vivace::cuda
