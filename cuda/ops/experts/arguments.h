// What the kernels of expert_gate_up and expert_down are given (contracts: cpp/ops/experts). Addresses are of the card.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"
#include "cuda/ops/experts/pairs.h"
#include "cuda/ops/pointwise/gates.h"
#include "cuda/program/device_op.h"
#include "ops/linear/a8.h"

namespace vivace::cuda {

// Products of pairs with their experts' matrices; with `up` two of them, and the gate's activation between.
struct ExpertProducts {
  DType dtype;                  // of the weights
  const uint8_t* weight;        // [experts · out, columns]; in fragments or as stored
  const uint8_t* up = nullptr;  // as weight, or null
  int64_t stride = 0;           // bytes from row to row as stored
  int64_t expert_bytes = 0;     // from an expert's matrix to the next one's
  const uint8_t* x = nullptr;   // rows of F32 or A8; pair p has row p / x_pairs
  int64_t x_stride = 0;
  int x_pairs = 1;
  float* y = nullptr;        // [pairs, out]; zeros for pairs of no expert
  A8Block* codes = nullptr;  // [pairs, out / 32] in place of y: fragments with `up` alone
  int out = 0, columns = 0;
  bool gelu = false;
  PairTiles tiles;

  __device__ float gated(float gate, float up_sum) const {
    return (gelu ? activate<true>(gate) : activate<false>(gate)) * up_sum;
  }
};

// expert_down of few rows in one launch: weights in fragments.
struct ExpertSums {
  DType dtype;
  const uint8_t* weight;  // [experts · out, columns] in fragments
  int64_t expert_bytes;
  const uint8_t* x;       // [rows · used] of A8
  int64_t x_stride;       // from pair to pair
  const int32_t* ids;     // [rows, used]
  const float* weights;   // [rows, used]
  const float* residual;  // [rows, out] or null
  float* y;               // [rows, out], may be residual
  int rows, used, experts, out, columns;
};

// Of all these: the same bits for a pair whatever the other pairs are.
void run_expert_fragments(const ExpertProducts& products, cudaStream_t stream);  // GGUF's types, in fragments
void run_half_experts(const ExpertProducts& products, cudaStream_t stream);      // F16, BF16; columns: 8 and more
void run_float_experts(const ExpertProducts& products, cudaStream_t stream);     // F32; columns: 8 and more
void run_plain_experts(const ExpertProducts& products, bool blocks_of_x, cudaStream_t stream);  // every type, as stored
void run_expert_sums(const ExpertSums& sums, cudaStream_t stream);  // the bits of products that are added up

// Both ops: how pairs are cut; arguments but for x, y and the other matrix; and the kernel that serves, which is given
// tile_bytes of the run's scratch memory to sort pairs.
PairTiles expert_tiles(const Tensor& weight, const Tensor& ids, int64_t experts);
ExpertProducts expert_products(const Tensor& weight, const Tensor& ids, int64_t experts);
void multiply_pairs(ExpertProducts& products, bool fragments, bool blocks_of_x, const DeviceRun& run);

}  // namespace vivace::cuda
