// The arguments of attention's kernel for many rows of a sequence.
#pragma once
#include "cuda/program/device_op.h"

namespace vivace::cuda {

struct PrefillCall {
  const float* q;  // [rows, heads, key_dim]
  float* y;        // [rows, heads, value_dim]
  DeviceBatch batch;
  DeviceKv kv;
  int layer, heads, group;
  float scale, softcap;
  Pattern pattern;
};

}  // namespace vivace::cuda
