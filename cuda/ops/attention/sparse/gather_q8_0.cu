// Attention over chosen cells, keys and values of Q8_0.
#include "cuda/ops/attention/sparse/gather.h"

namespace vivace::cuda {

bool gather_q8_0(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse) {
  return gather<KeysQ8_0, ValuesQ8_0>(run, call, sparse);
}

}  // namespace vivace::cuda
