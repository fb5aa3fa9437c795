// attention over few rows of a sequence, keys and values of two of the types F16, Q8_0 and Q4_0.
#include "cuda/ops/attention/decode/decode.h"

namespace vivace::cuda {
namespace {

template <class Keys, class Values>
bool start(const DeviceRun& run, const DecodeCall& call) {
  if (call.kv.value_dim <= 64) return start_widest<Keys, Values, 4, 4, 4>(run, call);
  if (call.kv.value_dim <= 128) return start_widest<Keys, Values, 8, 4, 4>(run, call);
  return start_widest<Keys, Values, 16, 2, 2>(run, call);
}

}  // namespace

bool decode_mixed(const DeviceRun& run, const DecodeCall& call) {
  if (!fits_strips(call.kv)) return false;
  if (call.kv.key_dtype == DType::F16) return start<KeysF16, ValuesOfEither>(run, call);
  if (call.kv.value_dtype == DType::F16) return start<KeysOfEither, ValuesF16>(run, call);
  return start<KeysOfEither, ValuesOfEither>(run, call);
}

}  // namespace vivace::cuda
