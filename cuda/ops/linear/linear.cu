// linear: see cpp/ops/linear/linear.h. Chooses the kernel; each is in a file of its own.
#include "cuda/ops/linear/linear.h"

namespace vivace::cuda {

void linear(const DeviceRun& run) {
  plain_linear(run);
}

}  // namespace vivace::cuda
