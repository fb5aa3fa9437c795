// attention over few rows of a sequence, keys and values of Q4_0.
#include "cuda/ops/attention/decode/decode.h"

namespace vivace::cuda {

bool decode_q4_0(const DeviceRun& run, const DecodeCall& call) {
  if (!fits_strips(call.kv)) return false;
  if (call.kv.value_dim <= 64) return start_widest<KeysQ4_0, ValuesQ4_0, 4, 4, 4>(run, call);
  if (call.kv.value_dim <= 128) return start_widest<KeysQ4_0, ValuesQ4_0, 8, 4, 4>(run, call);
  return start_widest<KeysQ4_0, ValuesQ4_0, 16, 2, 2>(run, call);
}

}  // namespace vivace::cuda
