// The kernels of rows that attend to few of the cells they see (Double Sparsity; cpp/ops/attention/sparse/sparse_rows.h
// has the definition): labels promise scores, the largest are chosen, and attention over these is exact.
#pragma once
#include "cuda/ops/attention/decode/call.h"

namespace vivace::cuda {

// What is known of the rows' choices in one layer.
struct SparseCall {
  const float* q;  // [rows, heads, key_dim]
  float* states;   // DeviceRun::states
  DeviceBatch batch;
  DeviceKv kv;
  int layer, heads, group, window;
  int lists;                // of chosen cells: KV heads or query heads
  int64_t labels;           // of the layer, in a page
  const int32_t* channels;  // [sets, channels] of the layer
};

// Whether rows of this run choose in the layer of this call of attention.
bool layer_chooses(const DeviceRun& run);
SparseCall sparse_call(const DeviceRun& run);

// Writes the labels of the run's cells, once their keys are there.
void write_labels(const DeviceRun& run);
// Finds the cells that each row chooses.
void choose_cells(const DeviceRun& run, const SparseCall& call);
// Exact attention over them, for what decode_attention has taken.
void gather_attention(const DeviceRun& run, DecodeCall call, const SparseCall& sparse);

// By the types of pages, as in decode/call.h.
bool gather_f16(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse);
bool gather_q8_0(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse);
bool gather_q4_0(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse);
bool gather_f32(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse);
bool gather_mixed(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse);

}  // namespace vivace::cuda
