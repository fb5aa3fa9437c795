// attention: see cpp/ops/attention/attention.h. Chooses the kernel; each is in a file of its own.
#include "cuda/ops/attention/attention.h"

namespace vivace::cuda {

void attention(const DeviceRun& run) {
  plain_attention(run);
}

}  // namespace vivace::cuda
