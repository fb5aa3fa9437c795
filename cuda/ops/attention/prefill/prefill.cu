// attention over many rows of a sequence; see prefill.h.
#include "cuda/ops/attention/prefill/prefill.h"

#include "cuda/ops/attention/attention.h"

namespace vivace::cuda {
namespace {

bool is_direct(const DeviceKv& kv) {
  return kv.key_dtype == DType::F16 && kv.value_dtype == DType::F16;
}

template <int VT>
size_t bytes_of(const DeviceKv& kv) {
  return PrefillLayout(kv, PrefillTile<VT>::vectors, PrefillTile<VT>::keys, is_direct(kv)).bytes;
}

template <int VT>
void start(const DeviceRun& run, const PrefillCall& call) {
  using Tile = PrefillTile<VT>;
  const int64_t rows = run.inputs[0].rows, most = rows * call.group / Tile::vectors + rows / many_rows + 1;
  const Launch how = {dim3(static_cast<unsigned>(most), static_cast<unsigned>(call.kv.kv_heads)), dim3(Tile::threads),
                      bytes_of<VT>(call.kv), run.stream};
  const bool patterned = call.kv.places != nullptr || call.pattern.sinks > 0 || call.pattern.block > 0;
  const bool direct = is_direct(call.kv);
  if (patterned)
    direct ? launch<prefill_tiles<VT, true, true>>(how, call) : launch<prefill_tiles<VT, false, true>>(how, call);
  else
    direct ? launch<prefill_tiles<VT, true, false>>(how, call) : launch<prefill_tiles<VT, false, false>>(how, call);
}

}  // namespace

bool prefill_serves(const DeviceKv& kv, const Pattern& pattern, const DeviceProperties& device) {
  const size_t bytes = kv.value_dim <= 64 ? bytes_of<4>(kv) : kv.value_dim <= 128 ? bytes_of<8>(kv) : bytes_of<16>(kv);
  // 256 bytes: the kernel's own.
  return fits_strips(kv) && pattern.block % strip_slots == 0 && bytes + 256 <= static_cast<size_t>(device.shared_bytes);
}

void prefill_attention(const DeviceRun& run) {
  const double* a = run.attributes;
  const int heads = static_cast<int>(a[1]);
  const PrefillCall call = {reinterpret_cast<const float*>(run.inputs[0].data),
                            reinterpret_cast<float*>(run.outputs[0].data),
                            run.batch,
                            run.kv,
                            static_cast<int>(a[0]),
                            heads,
                            heads / run.kv.kv_heads,
                            static_cast<float>(a[3]),
                            static_cast<float>(a[4]),
                            attention_pattern(a, run.kv)};
  if (run.kv.value_dim <= 64)
    start<4>(run, call);
  else if (run.kv.value_dim <= 128)
    start<8>(run, call);
  else
    start<16>(run, call);
}

}  // namespace vivace::cuda
