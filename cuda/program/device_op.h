// The contract between the runner and the ops of a device: what a launcher sees. Shapes are checked by the rows of
// cpp/ops, which both kinds of devices share.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "cuda/caches/device_kv.h"
#include "cuda/caches/policy_rows.h"
#include "cuda/program/row_plan.h"
#include "program/op.h"

namespace vivace::cuda {

struct DeviceProperties {
  int multiprocessors = 0;
  int major = 0, minor = 0;
  int shared_bytes = 0;  // that a block may ask for
};

// Sizes that differ from run to run; kernels read them, so that a graph can be launched again.
struct BatchSizes {
  int32_t rows, outputs;  // without the bucket's padding
  int32_t tree_words;     // 0: chains
  int32_t page_stride;
  int32_t units, items, runs;  // of the plan for attention that goes with the call's pattern
  PolicySizes policy;
};

// What the rows of a run are, as far as it decides which kernels start; a graph is recorded for each.
enum class RowsKind {
  alone,    // no unit of the plan has several rows
  several,  // one has
  many,     // there are runs
};

// The rows of a run in device memory, padded to the bucket's rows: padding has cell -1 and sees nothing. The addresses
// stay the same from run to run.
struct DeviceBatch {
  const BatchSizes* sizes = nullptr;
  const int32_t* sequences = nullptr;        // [bucket] 0, 1, 2 … in this run
  const int32_t* positions = nullptr;        // [bucket]
  const int32_t* cells = nullptr;            // [bucket]
  const int32_t* first_cells = nullptr;      // [bucket]
  const int32_t* visible = nullptr;          // [bucket]
  const int32_t* added_offsets = nullptr;    // [bucket]
  const int32_t* added_positions = nullptr;  // of trees
  const uint64_t* tree_mask = nullptr;       // [bucket, sizes->tree_words]
  std::byte* const* pages = nullptr;         // [sequences, groups of the cache, sizes->page_stride]
  const int32_t* skipped = nullptr;          // [sequences, groups] under a policy: see VivaceDeviceBatch
  const float* angles = nullptr;             // [bucket, angles of the cache]
  const RowUnit* units = nullptr;            // [sizes->units + 1]
  const RowRun* runs = nullptr;              // [sizes->runs]
  const int32_t* states = nullptr;           // [bucket]
  const int32_t* chosen_states = nullptr;    // [bucket] as `states`, of rows that choose what they attend to
  RowsKind kind = RowsKind::alone;
  bool choosing = false;    // some rows choose
  bool compresses = false;  // some prompts are compressed
};

inline constexpr int ticket_count = 4096;
inline constexpr int most_joined = 3;  // q, k and v

// Of inputs `panels` says that a weight lies in fragments (cuda/quant/fragments.h).
struct DeviceRun {
  Tensor inputs[max_inputs];  // device memory; data == nullptr: an optional input that is absent
  Tensor outputs[max_outputs];
  const double* attributes = nullptr;
  DeviceBatch batch;
  DeviceKv kv;
  std::byte* scratch = nullptr;  // scratch(…) bytes, 256-byte aligned
  uint32_t* tickets = nullptr;   // ticket_count counters of blocks that are done: zeros, which kernels leave as zeros
  std::byte* states = nullptr;   // state(…) bytes for each state of the batch's plan, 256-byte aligned
  cudaStream_t stream = nullptr;
  const DeviceProperties* device = nullptr;
};

struct DeviceOp {
  const char* name;
  // Starts the kernels. Grids depend on shapes and properties alone, and nothing but launches happens, so that the
  // call can be recorded in a graph. Throws what cuda/core/error.h throws.
  void (*launch)(const DeviceRun&);
  size_t (*scratch)(const OpShapes&, const DeviceProperties&);  // null: none
  // Bytes for one state of the plan: how many there are depends on lengths, so they are not in the scratch memory.
  size_t (*state)(const OpShapes&) = nullptr;
  // Several calls with the same first input, up to most_joined, in one launch: the same bits; null: there is none.
  // Their weights lie in fragments and are of one type, and none reads what another writes.
  void (*launch_joined)(const DeviceRun* const* runs, int count) = nullptr;
  size_t (*joined_scratch)(const OpShapes*, int count, const DeviceProperties&) = nullptr;
  // What rows see: calls of the same pattern have a plan of the batch's rows in common; null: the op has no use for
  // one.
  Pattern (*pattern)(const double* attributes, const DeviceKv&) = nullptr;
};

// The table of all ops (cuda/ops/registry.cpp); null: there is none of this name.
const DeviceOp* find_device_op(const char* name);

}  // namespace vivace::cuda
