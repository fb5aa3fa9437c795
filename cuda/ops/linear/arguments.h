// What the kernels of linear are given (contract: cpp/ops/linear/linear.h). Addresses are of the card.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "core/dtype.h"
#include "cuda/ops/linear/choice.h"
#include "cuda/program/device_op.h"
#include "ops/linear/a8.h"

namespace vivace::cuda {

// Of gated_linear (cpp/ops/fused/gated_linear.h): y = activation(x · weightᵀ) · (x · upᵀ).
struct Gating {
  const uint8_t* up = nullptr;  // null: there is none
  bool gelu = false;
  A8Block* y = nullptr;  // [rows, out / 32], in place of y in floats
};

// Bias and residual; y may be the residual.
__device__ inline void store_sum(float* y, const float* bias, const float* residual, int out, float sum, int row,
                                 int n) {
  const int64_t at = static_cast<int64_t>(row) * out + n;
  if (bias != nullptr) sum += bias[n];
  if (residual != nullptr) sum += residual[at];
  y[at] = sum;
}

// A matrix and where its products go.
struct LinearTarget {
  const uint8_t* weight;
  float* y;               // [rows, out]
  const float* bias;      // [out] or null
  const float* residual;  // [rows, out] or null
  int out;

  __device__ void store(float sum, int row, int n) const { store_sum(y, bias, residual, out, sum, row, n); }
};

// What every kernel needs. Kernels of tiles get no more: they have no register to spare.
struct ProductArguments {
  DType dtype;            // of the weight
  const uint8_t* weight;  // [out, columns] as stored; the memory goes on to a multiple of 16 bytes at both ends
  int64_t stride;         // bytes from row to row of weight
  const uint8_t* x;       // [rows, columns] F32, A8 or A8_TOKEN
  int64_t x_stride;
  float* y;               // [rows, out]
  const float* bias;      // [out] or null
  const float* residual;  // [rows, out] or null
  int rows, out, columns;
  bool fragments = false;       // weight lies as cuda/quant/fragments.h says; stride means nothing then
  uint8_t* scratch = nullptr;   // linear_scratch(…) bytes, 256-byte aligned
  uint32_t* tickets = nullptr;  // linear_tickets zeros; kernels leave them zero
  int multiprocessors = 0;

  __device__ void store(float sum, int row, int n) const { store_sum(y, bias, residual, out, sum, row, n); }
};

struct LinearArguments : ProductArguments {
  Gating gating = {};  // fragment_linear alone
  Serve serve = Serve::by_table;

  // More matrices of the same type that are multiplied with the same x in the same launch; fragment_linear alone.
  LinearTarget others[most_joined - 1] = {};
  int other_count = 0;

  __host__ __device__ LinearTarget target() const { return {weight, y, bias, residual, out}; }
};

// Each takes its types of weights and returns false, having done nothing, for other ones and for shapes that it does
// not take. A row of y has the same bits whatever the other rows are, and however many.
bool block_linear(const LinearArguments& arguments, cudaStream_t stream);     // GGUF's quantised types
bool token_linear(const LinearArguments& arguments, cudaStream_t stream);     // W?A8; columns a multiple of 32
bool scaled_linear(const LinearArguments& arguments, cudaStream_t stream);    // W?A16; columns a multiple of 32
bool float_linear(const LinearArguments& arguments, cudaStream_t stream);     // F32, F16, BF16; columns a multiple of 8
bool fragment_linear(const LinearArguments& arguments, cudaStream_t stream);  // weights in fragments
// F16, BF16, W?A8; columns as above. `tile`: rows of x per block, 64, 128 or 256 with the same bits; 0: chosen.
bool tiled_linear(const LinearArguments& arguments, cudaStream_t stream, int tile = 0);

// What fragment_linear needs for these matrices.
size_t linear_scratch(DType dtype, int rows, const std::vector<int>& outs, int columns, int multiprocessors,
                      bool gated = false, Serve serve = Serve::by_table);
inline constexpr int linear_tickets = ticket_count;

inline bool wants_tiles(const LinearArguments& a) {
  return a.serve == Serve::tiles || (a.serve == Serve::by_table && a.rows >= tiles_from(a.dtype));
}

// The kernel for the arguments; false: none takes them.
inline bool fast_linear(const LinearArguments& arguments, cudaStream_t stream) {
  if (arguments.fragments) return fragment_linear(arguments, stream);
  if ((wants_tiles(arguments) || rounds_x(arguments.dtype, arguments.rows)) && tiled_linear(arguments, stream))
    return true;
  return block_linear(arguments, stream) || token_linear(arguments, stream) || scaled_linear(arguments, stream) ||
         float_linear(arguments, stream);
}

}  // namespace vivace::cuda
