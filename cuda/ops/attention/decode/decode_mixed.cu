// attention over few rows of a sequence, keys of F16 with values of Q8_0 or the other way round.
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
  return call.kv.key_dtype == DType::F16 ? start<KeysF16, ValuesQ8_0>(run, call)
                                         : start<KeysQ8_0, ValuesF16>(run, call);
}

}  // namespace vivace::cuda
