// Attention over chosen cells, keys and values of two of the types F16, Q8_0 and Q4_0.
#include "cuda/ops/attention/sparse/gather.h"

namespace vivace::cuda {

bool gather_mixed(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse) {
  if (call.kv.key_dtype == DType::F16) return gather<KeysF16, ValuesOfEither>(run, call, sparse);
  if (call.kv.value_dtype == DType::F16) return gather<KeysOfEither, ValuesF16>(run, call, sparse);
  return gather<KeysOfEither, ValuesOfEither>(run, call, sparse);
}

}  // namespace vivace::cuda
