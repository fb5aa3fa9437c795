// The one border between the addon and the library that drives NVIDIA cards: a table of C functions and plain structs.
// The addon has no CUDA in it and the library none of Node's; either is replaced without the other as long as the
// version is the same. Functions return 0, or 1 with *error filled. None of them aborts or throws.
#pragma once
#include <stdint.h>

#define VIVACE_DEVICE_TABLE_VERSION 1

typedef struct VivaceDeviceError {
  char code[32];  // the words of lib/errors.ts
  char message[512];
  char remedy[256];
} VivaceDeviceError;

typedef struct VivaceDeviceInfo {
  char name[128];
  int32_t major, minor;  // compute capability
  int32_t multiprocessors;
  int64_t memory, memory_free;  // bytes
  char unusable[192];           // why it cannot be used, empty: it can
} VivaceDeviceInfo;

// Values, calls and outputs as in program/program.h, after fusion: kinds are 0 input, 1 weight, 2 constant, 3 computed;
// rows may be -1 (one per token) or -2 (one per output). Names and memory must stay until program_load has ended.
typedef struct VivaceDeviceValue {
  const char* name;
  int32_t dtype, kind;
  int64_t rows, columns;
  const void* data;  // host memory of a weight or constant
} VivaceDeviceValue;

typedef struct VivaceDeviceCall {
  const char* op;
  const int32_t* inputs;  // -1: absent
  const int32_t* outputs;
  const double* attributes;
  int32_t input_count, output_count, attribute_count;
} VivaceDeviceCall;

typedef struct VivaceDeviceProgram {
  const VivaceDeviceValue* values;
  const VivaceDeviceCall* calls;
  const int32_t* outputs;
  int32_t value_count, call_count, output_count;
} VivaceDeviceProgram;

// How a page of the cache is divided (caches/paged_kv.h); sizes and offsets in bytes.
typedef struct VivaceDeviceCache {
  int32_t layers, kv_heads, key_dim, value_dim, page_size;
  int32_t key_dtype, value_dtype;
  int64_t key_row, value_row, value_offset, layer;
} VivaceDeviceCache;

// The rows of a run, as in program/batch.h; sequences are numbered 0, 1, 2 … within the run.
typedef struct VivaceDeviceBatch {
  const VivaceDeviceCache* cache;
  const int32_t* sequences;        // [rows]
  const int32_t* positions;        // [rows]
  const int32_t* cells;            // [rows]
  const int32_t* first_cells;      // [rows]
  const int32_t* visible;          // [rows]
  const int32_t* added_offsets;    // [rows]
  const int32_t* added_positions;  // [added]
  const uint64_t* tree_mask;       // [rows, tree_words], null: chains
  void* const* pages;              // [sequence_count, page_stride] device addresses
  int32_t tree_words, added, sequence_count, page_stride;
} VivaceDeviceBatch;

typedef struct VivaceDeviceBinding {
  int32_t value;
  void* data;  // host memory, [actual rows, columns]
} VivaceDeviceBinding;

typedef struct VivaceDeviceRun {
  int64_t rows, outputs;
  const VivaceDeviceBinding* bindings;  // of every input, and of the outputs that are wanted elsewhere
  int32_t binding_count;
  const VivaceDeviceBatch* batch;  // null: none
  double* call_seconds;            // [calls], null: not measured
} VivaceDeviceRun;

typedef struct VivaceDeviceStrip {
  void* to;
  const void* from;
  int64_t bytes;
} VivaceDeviceStrip;

typedef struct VivaceDeviceMemory {
  int64_t weights, arena, buffers;  // bytes on the card
} VivaceDeviceMemory;

typedef struct VivaceDeviceTable {
  uint32_t version, size;  // of this struct: VIVACE_DEVICE_TABLE_VERSION, sizeof
  const char* build;       // what it was built with and for

  // Fills at most `capacity` devices; *count is how many there are.
  int (*devices)(VivaceDeviceInfo* out, int32_t capacity, int32_t* count, VivaceDeviceError* error);

  // Checks and plans; says OUT_OF_MEMORY with figures before anything is moved.
  int (*program_create)(int32_t device, const VivaceDeviceProgram* program, void** out, VivaceDeviceError* error);
  // Moves the next `bytes` of weights; *done is the share of all, 1 at the end. A run needs all of them.
  int (*program_load)(void* program, int64_t bytes, double* done, VivaceDeviceError* error);
  // One after the other per program. Outputs are in host memory when it returns.
  int (*program_run)(void* program, const VivaceDeviceRun* run, VivaceDeviceError* error);
  // Host memory where the last run left an output; null: nowhere.
  void* (*program_output)(void* program, int32_t value);
  void (*program_memory)(void* program, VivaceDeviceMemory* out);
  void (*program_destroy)(void* program);

  // Memory for pages. page_map gives null in *out when the card has no more. Moves are over when they return.
  int (*pages_create)(int32_t device, int64_t page_bytes, void** out, VivaceDeviceError* error);
  int (*page_map)(void* pages, void** out, VivaceDeviceError* error);
  void (*page_unmap)(void* pages, void* page);
  int (*pages_copy)(void* pages, const VivaceDeviceStrip* strips, int64_t count, VivaceDeviceError* error);
  int (*pages_read)(void* pages, const VivaceDeviceStrip* strips, int64_t count, VivaceDeviceError* error);
  int (*pages_write)(void* pages, const VivaceDeviceStrip* strips, int64_t count, VivaceDeviceError* error);
  void (*pages_destroy)(void* pages);

  // Names of the kernels that ran in this process, a line each; only emulation keeps a list. Writes at most `capacity`
  // bytes with the final zero; returns how many it takes.
  int32_t (*kernels)(char* out, int32_t capacity);
} VivaceDeviceTable;

#define VIVACE_DEVICE_ENTRY "vivace_device_table"
typedef const VivaceDeviceTable* (*VivaceDeviceEntry)(void);
