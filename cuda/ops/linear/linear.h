// The kernels of linear. All take every shape that their comment names, and give a row's bits whatever the other rows.
#pragma once
#include "cuda/program/device_op.h"

namespace vivace::cuda {

// Every weight type and shape: one thread per output, weights read as they are stored.
void plain_linear(const DeviceRun& run);

}  // namespace vivace::cuda
