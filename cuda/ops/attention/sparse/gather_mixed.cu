// Attention over chosen cells, keys of F16 with values of Q8_0 or the other way round.
#include "cuda/ops/attention/sparse/gather.h"

namespace vivace::cuda {

bool gather_mixed(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse) {
  return call.kv.key_dtype == DType::F16 ? gather<KeysF16, ValuesQ8_0>(run, call, sparse)
                                         : gather<KeysQ8_0, ValuesF16>(run, call, sparse);
}

}  // namespace vivace::cuda
