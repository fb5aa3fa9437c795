// Attention over chosen cells, keys and values of F32.
#include "cuda/ops/attention/sparse/gather.h"

namespace vivace::cuda {

bool gather_f32(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse) {
  return gather<KeysF32, ValuesF32, 2, 1>(run, call, sparse);
}

}  // namespace vivace::cuda
