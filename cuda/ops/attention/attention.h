// The kernels of attention.
#pragma once
#include "cuda/program/device_op.h"

namespace vivace::cuda {

// What rows of a call see: what the cache's policy says of its layer, or else the call's own window.
Pattern attention_pattern(const double* attributes, const DeviceKv& kv);

// Every shape, type of cache, pattern, soft cap and tree: one block per row and query head.
void plain_attention(const DeviceRun& run);

// Rows that the plan has in units (cuda/program/row_plan.h), and zeros for rows that see nothing. False, and nothing is
// started, for what decode/call.h leaves out.
bool decode_attention(const DeviceRun& run);

// Rows that the plan has in runs, queries and weights rounded to halves.
void prefill_attention(const DeviceRun& run);
bool prefill_serves(const DeviceKv& kv, const Pattern& pattern, const DeviceProperties& device);

}  // namespace vivace::cuda
