// attention over few rows of a sequence, keys and values of F32.
#include "cuda/ops/attention/decode/decode.h"

namespace vivace::cuda {

bool decode_f32(const DeviceRun& run, const DecodeCall& call) {
  if (!fits_strips(call.kv)) return false;
  if (call.kv.value_dim <= 64) return start_widest<KeysF32, ValuesF32, 4, 4, 4>(run, call);
  if (call.kv.value_dim <= 128) return start_widest<KeysF32, ValuesF32, 8, 4, 2>(run, call);
  return start_widest<KeysF32, ValuesF32, 16, 2, 1>(run, call);
}

}  // namespace vivace::cuda
