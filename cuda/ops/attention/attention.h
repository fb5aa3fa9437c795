// The kernels of attention.
#pragma once
#include "cuda/program/device_op.h"

namespace vivace::cuda {

// Every shape, type of cache, window, soft cap and tree: one block per row and query head.
void plain_attention(const DeviceRun& run);

}  // namespace vivace::cuda
