// Attention over chosen cells, keys and values of Q4_0.
#include "cuda/ops/attention/sparse/gather.h"

namespace vivace::cuda {

bool gather_q4_0(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse) {
  return gather<KeysQ4_0, ValuesQ4_0>(run, call, sparse);
}

}  // namespace vivace::cuda
