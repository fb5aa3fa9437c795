// attention: see cpp/ops/attention/attention.h. Chooses the kernel; each is in a file of its own.
#include "cuda/ops/attention/attention.h"

#include "cuda/ops/attention/snap/snap.h"
#include "cuda/ops/attention/sparse/sparse.h"

namespace vivace::cuda {

// Both kernels or none: a row's bits must not depend on whether another sequence of the batch has a prompt.
//   pages and blocks of a multiple of 16 cells, dims up to 256 that 16 divides, F32 pages for both or none, and room in
//   a block's shared memory: 32 and more neighbouring rows of a chain by prefill_attention, others by decode_attention
//   anything else: plain_attention
// Rows that choose what they attend to are left out by decode_attention and served by gather_attention.
void attention(const DeviceRun& run) {
  const Pattern pattern = attention_pattern(run.attributes, run.kv);
  const bool choosing = layer_chooses(run);
  if (choosing) choose_cells(run, sparse_call(run));
  if (!prefill_serves(run.kv, pattern, *run.device) || !decode_attention(run)) {
    plain_attention(run);
  } else {
    if (run.batch.kind == RowsKind::many) prefill_attention(run);
    // A prompt's last row may be among the rows that choose.
    if (choosing) gather_attention(run, decode_call(run), sparse_call(run));
  }
  if (run.batch.compresses) compress_prompts(run);
}

Pattern attention_pattern(const double* attributes, const DeviceKv& kv) {
  if (kv.patterns != nullptr) return kv.patterns[static_cast<int>(attributes[0])];
  Pattern pattern = {};
  pattern.window = static_cast<int>(attributes[5]);
  return pattern;
}

size_t attention_state(const OpShapes& shapes) {
  const auto heads = static_cast<int64_t>(shapes.attributes[1]);
  return static_cast<size_t>(heads * state_floats(static_cast<int>(shapes.attributes[2]))) * sizeof(float);
}

DecodeCall decode_call(const DeviceRun& run) {
  const double* a = run.attributes;
  DecodeCall call = {};
  call.q = reinterpret_cast<const float*>(run.inputs[0].data);
  call.y = reinterpret_cast<float*>(run.outputs[0].data);
  call.states = reinterpret_cast<float*>(run.states);
  call.batch = run.batch;
  call.kv = run.kv;
  call.layer = static_cast<int>(a[0]);
  call.heads = static_cast<int>(a[1]);
  call.group = call.heads / run.kv.kv_heads;
  call.scale = static_cast<float>(a[3]);
  call.softcap = static_cast<float>(a[4]);
  call.pattern = attention_pattern(a, run.kv);
  call.choosing = layer_chooses(run);
  return call;
}

bool decode_attention(const DeviceRun& run) {
  const DecodeCall call = decode_call(run);
  const DType keys = run.kv.key_dtype, values = run.kv.value_dtype;
  bool started = false;
  if (keys == DType::F16 && values == DType::F16) started = decode_f16(run, call);
  if (keys == DType::Q8_0 && values == DType::Q8_0) started = decode_q8_0(run, call);
  if (keys == DType::Q4_0 && values == DType::Q4_0) started = decode_q4_0(run, call);
  if (keys == DType::F32 && values == DType::F32) started = decode_f32(run, call);
  if (keys != values && keys != DType::F32 && values != DType::F32) started = decode_mixed(run, call);
  if (started) merge_states(run, call);
  return started;
}

}  // namespace vivace::cuda
