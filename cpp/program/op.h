// The contract between the planner and the ops: what an op declares (one table row) and what its kernel sees.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "core/isa.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "program/batch.h"

namespace vivace {

class PagedKv;

inline constexpr int max_inputs = 6;
inline constexpr int max_outputs = 2;

// What a kernel sees. Attributes are numbers in the order of the op's table row (enumerations as small integers).
// Every member of the team calls the kernel; it divides the work itself and may use barriers. The runner puts one
// barrier after each op. Kernels never allocate and never throw.
struct OpRun {
  Tensor inputs[max_inputs];  // data == nullptr: an optional input that is absent
  Tensor outputs[max_outputs];
  const double* attributes = nullptr;
  const Batch* batch = nullptr;
  PagedKv* kv = nullptr;
  std::byte* scratch = nullptr;  // scratch(call) bytes, 64-byte aligned, shared by the team
};

using Kernel = void (*)(const OpRun&, Team&);

// An op call with its shapes resolved for one row bucket; data pointers are not set yet.
struct OpShapes {
  Tensor inputs[max_inputs];
  int input_count = 0;
  Tensor outputs[max_outputs];
  int output_count = 0;
  const double* attributes = nullptr;
  int threads = 1;
};

struct OpInfo {
  const char* name;
  int min_inputs, max_inputs;
  int outputs;
  const char* const* attributes;  // attribute_count names
  int attribute_count;
  bool in_place;  // output 0 may share memory with input 0
  // Throws Error(SHAPE_MISMATCH | DTYPE_MISMATCH) when shapes, types or attributes do not fit. The builder in
  // TypeScript gives the friendly message; this is the safety check.
  void (*check)(const OpShapes&);
  size_t (*scratch)(const OpShapes&);  // null: none
  Kernel kernels[isa_count];           // null where the level has no body: the next lower one is used
};

// The table of all ops (ops/registry.cpp).
const OpInfo* find_op(const char* name);
const OpInfo* const* all_ops(int& count);

// Throws when `condition` is false; for check().
inline void require(bool condition, const char* code, const char* message) {
  if (!condition) throw Error(code, message);
}

}  // namespace vivace

// Declares a kernel for every level that this build contains (VIVACE_HAS_* come from the build).
#if defined(VIVACE_HAS_AVX2)
#define VIVACE_AVX2(name) avx2::name
#define VIVACE_DECLARE_AVX2(name) \
  namespace avx2 {                \
  void name(const OpRun&, Team&); \
  }
#else
#define VIVACE_AVX2(name) nullptr
#define VIVACE_DECLARE_AVX2(name)
#endif
#if defined(VIVACE_HAS_AVX512)
#define VIVACE_AVX512(name) avx512::name
#define VIVACE_DECLARE_AVX512(name) \
  namespace avx512 {                \
  void name(const OpRun&, Team&);   \
  }
#else
#define VIVACE_AVX512(name) nullptr
#define VIVACE_DECLARE_AVX512(name)
#endif
#if defined(VIVACE_HAS_NEON)
#define VIVACE_NEON(name) neon::name
#define VIVACE_DECLARE_NEON(name) \
  namespace neon {                \
  void name(const OpRun&, Team&); \
  }
#else
#define VIVACE_NEON(name) nullptr
#define VIVACE_DECLARE_NEON(name)
#endif
#if defined(VIVACE_HAS_I8MM)
#define VIVACE_I8MM(name) i8mm::name
#define VIVACE_DECLARE_I8MM(name) \
  namespace i8mm {                \
  void name(const OpRun&, Team&); \
  }
#else
#define VIVACE_I8MM(name) nullptr
#define VIVACE_DECLARE_I8MM(name)
#endif
#if defined(VIVACE_NO_KERNELS)
// For a device's library, which shares the checks.
#define VIVACE_DECLARE_KERNEL(name)
#define VIVACE_KERNELS(name) \
  {}
#else
#define VIVACE_DECLARE_KERNEL(name) \
  namespace baseline {              \
  void name(const OpRun&, Team&);   \
  }                                 \
  VIVACE_DECLARE_AVX2(name)         \
  VIVACE_DECLARE_AVX512(name)       \
  VIVACE_DECLARE_NEON(name)         \
  VIVACE_DECLARE_I8MM(name)
#define VIVACE_KERNELS(name) \
  { baseline::name, VIVACE_AVX2(name), VIVACE_AVX512(name), VIVACE_NEON(name), VIVACE_I8MM(name) }
#endif
