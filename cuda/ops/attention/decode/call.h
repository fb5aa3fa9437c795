// The arguments of attention's kernels for few rows of a sequence, and of what merges their states.
#pragma once
#include "cuda/program/device_op.h"

namespace vivace::cuda {

struct DecodeCall {
  const float* q;  // [rows, heads, key_dim]
  float* y;        // [rows, heads, value_dim]
  float* states;   // [states, heads, state_floats(value_dim)]
  DeviceBatch batch;
  DeviceKv kv;
  int layer, heads, group;
  float scale, softcap;
  Pattern pattern;
  bool choosing;  // some rows of this layer choose what they attend to
  int passes;     // of a kernel's columns over the query vectors of the largest unit
};

// Of a chunk of slots: the weighted values, not divided; then the largest score (times log2 e) and the sum of weights.
__host__ __device__ inline int state_floats(int value_dim) {
  return value_dim + 4;
}

// Each starts a kernel for its types of pages, or gives false when shapes are not for it: dims up to 256 that 16
// divides, and what fits into a block's shared memory.
bool decode_f16(const DeviceRun& run, const DecodeCall& call);
bool decode_q8_0(const DeviceRun& run, const DecodeCall& call);
bool decode_q4_0(const DeviceRun& run, const DecodeCall& call);
bool decode_f32(const DeviceRun& run, const DecodeCall& call);
bool decode_mixed(const DeviceRun& run, const DecodeCall& call);  // two of F16, Q8_0 and Q4_0

// The call of a run.
DecodeCall decode_call(const DeviceRun& run);

// Rows of several chunks, and zeros for rows that see nothing.
void merge_states(const DeviceRun& run, const DecodeCall& call);

}  // namespace vivace::cuda
