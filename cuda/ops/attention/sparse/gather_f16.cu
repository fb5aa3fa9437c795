// Attention over chosen cells, keys and values of F16.
#include "cuda/ops/attention/sparse/gather.h"

namespace vivace::cuda {

bool gather_f16(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse) {
  return gather<KeysF16, ValuesF16>(run, call, sparse);
}

}  // namespace vivace::cuda
