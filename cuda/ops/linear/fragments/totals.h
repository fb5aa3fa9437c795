// What the kernels for weights in fragments share: how a shape is cut, whose strip is whose, sums of a warp, adding the
// slices of a split tile, and the way to y.
#pragma once
#include "cuda/core/copy.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/linear/arguments.h"
#include "cuda/ops/pointwise/gates.h"
#include "cuda/quant/a8.h"

namespace vivace::cuda {

inline constexpr int slice_units = 8;  // units of 128 columns

// How a shape is cut. Neither tiles nor warps nor slices change a bit.
struct FragmentPlan {
  int tiles = 1;            // NT: of 8 rows of x
  int warps = 8;            // of a block
  int slices = 1;           // of k
  bool split = false;       // a block per slice
  bool halved = false;      // x comes from scratch memory, by cp.async; else the block rounds it itself
  size_t scale_offset = 0;  // in scratch memory, whose beginning is x
  size_t partial_offset = 0;
  size_t bytes = 0;  // of scratch memory
};

// Warps of a block where there are many strips; elsewhere two.
__host__ __device__ constexpr int wide_block(int bits) {
  return bits <= 4 ? 8 : 4;
}

template <int warps>
unsigned fragment_blocks(const LinearArguments& a) {
  const int rows = 16 * (a.gating.up == nullptr ? warps : warps / 2);
  int count = (a.out + rows - 1) / rows;
  for (int i = 0; i < a.other_count; ++i) count += (a.others[i].out + rows - 1) / rows;
  return static_cast<unsigned>(count);
}

// Sums of a warp: 16 rows of the weight by 8 · NT rows of x.
template <int NT>
struct WarpSums {
  float values[NT][4] = {};

  __device__ void add(const WarpSums& other) {
    UNROLL
    for (int n = 0; n < NT; ++n) UNROLL
    for (int i = 0; i < 4; ++i) values[n][i] += other.values[n][i];
  }
  __device__ void clear() {
    UNROLL
    for (int n = 0; n < NT; ++n) UNROLL
    for (int i = 0; i < 4; ++i) values[n][i] = 0;
  }
};

// All blocks of a split tile leave their sums in scratch memory; the one that comes last gets the sum of all slices, in
// their order. False for the others.
template <int NT>
__device__ inline bool add_slices(const LinearArguments& a, const FragmentPlan& plan, WarpSums<NT>& total) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  // Each thread's sums lie together; the same thread of the last block reads them.
  const int64_t tile = int64_t{blockIdx.y} * gridDim.x + blockIdx.x, tiles = int64_t{gridDim.x} * gridDim.y;
  const auto place = [&](int slice, int n) {
    return a.scratch + plan.partial_offset + ((slice * tiles + tile) * NT + n) * (16 * threads) + 16 * thread;
  };
  UNROLL
  for (int n = 0; n < NT; ++n)
    store_as(place(static_cast<int>(blockIdx.z), n), 0,
             make_float4(total.values[n][0], total.values[n][1], total.values[n][2], total.values[n][3]));
  __threadfence();
  __syncthreads();
  SHARED(uint32_t, others, 1);
  if (thread == 0) {
    others[0] = atomicAdd(a.tickets + tile, 1u);
    if (others[0] == gridDim.z - 1) a.tickets[tile] = 0;  // for the next launch
  }
  __syncthreads();
  if (others[0] != gridDim.z - 1) return false;
  __threadfence();
  total.clear();
  for (int slice = 0; slice < plan.slices; ++slice) {
    WarpSums<NT> one;
    UNROLL
    for (int n = 0; n < NT; ++n) {
      const float4 four = __ldcg(reinterpret_cast<const float4*>(place(slice, n)));
      one.values[n][0] = four.x, one.values[n][1] = four.y, one.values[n][2] = four.z, one.values[n][3] = four.w;
    }
    total.add(one);
  }
  return true;
}

// A gate's sums meet those of the other matrix, which half of the warps have: what comes out goes to y.
template <int NT, int warps>
__device__ inline void store_gated(const LinearArguments& a, const WarpSums<NT>& total, const Shared<float>& memory,
                                   int batch) {
  constexpr int strips = warps / 2, width = 16 * strips, stride = width + 4;
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32), g = lane / 4;
  const int strip = warp % strips, first = static_cast<int>(blockIdx.x) * width, t = lane % 4;
  const auto row_of = [&](int n, int i) { return 8 * n + 2 * t + i % 2; };
  const auto place = [&](int n, int i) { return row_of(n, i) * stride + 16 * strip + g + i / 2 * 8; };
  wait_copies<0>();
  __syncthreads();  // nobody reads the ring any more
  if (warp >= strips) UNROLL
  for (int n = 0; n < NT; ++n) UNROLL
  for (int i = 0; i < 4; ++i) memory[place(n, i)] = total.values[n][i];
  __syncthreads();
  if (warp < strips) UNROLL
  for (int n = 0; n < NT; ++n) UNROLL
  for (int i = 0; i < 4; ++i) {
    const float gate = total.values[n][i], up = memory[place(n, i)];
    const float value = (a.gating.gelu ? activate<true>(gate) : activate<false>(gate)) * up;
    if (a.gating.y != nullptr) {
      memory[place(n, i)] = value;
      continue;
    }
    const int row = batch + row_of(n, i), at = first + 16 * strip + g + i / 2 * 8;
    if (at < a.out && row < a.rows) a.y[static_cast<int64_t>(row) * a.out + at] = value;
  }
  if (a.gating.y == nullptr) return;
  __syncthreads();
  // A warp takes 32 values of a row at a time.
  for (int i = warp; i < 8 * NT * strips / 2; i += warps) {
    const int row = i / (strips / 2), at = i % (strips / 2) * 32;
    if (batch + row >= a.rows || first + at >= a.out) continue;
    quantize_block(memory[row * stride + at + lane],
                   a.gating.y + (static_cast<int64_t>(batch + row) * a.out + first + at) / 32);
  }
}

// The strip of a warp. A block has strips of one matrix; of gated ones the second half of its warps has those of the
// other one.
template <int warps>
struct OwnStrip {
  LinearTarget target;
  int number;  // in it; may be one beyond the last

  __device__ explicit OwnStrip(const LinearArguments& a) : target(a.target()) {
    const int warp = static_cast<int>(threadIdx.x / 32);
    int block = static_cast<int>(blockIdx.x), count = warps;
    if (a.gating.up != nullptr) {
      count = warps / 2;
      if (warp >= count) target.weight = a.gating.up;
    }
    UNROLL
    for (int i = 0; i < most_joined - 1; ++i) {
      const int blocks = (target.out + 16 * warps - 1) / (16 * warps);
      if (i >= a.other_count || block < blocks) continue;
      block -= blocks;
      target = a.others[i];
    }
    number = block * count + warp % count;
  }
  __device__ int last() const { return (target.out + 15) / 16 - 1; }
};

// The sums of a block to y. Gates use the memory of the copies.
template <int NT, int warps>
__device__ inline void store_totals(const LinearArguments& a, const WarpSums<NT>& total, const OwnStrip<warps>& own,
                                    int batch) {
  // Blocks of two warps have no matrices to share, nor 32 columns.
  if constexpr (warps > 2)
    if (a.gating.up != nullptr) {
      constexpr int count = 8 * NT * (16 * (warps / 2) + 4);
      return store_gated<NT, warps>(a, total, dynamic_shared<float>(0, count), batch);
    }
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  UNROLL
  for (int n = 0; n < NT; ++n) UNROLL
  for (int i = 0; i < 4; ++i) {
    const int row = batch + 8 * n + 2 * t + i % 2, at = 16 * own.number + g + i / 2 * 8;
    if (at < own.target.out && row < a.rows) own.target.store(total.values[n][i], row, at);
  }
}

// W?A16 by bits of a code, and GGUF's types; each in a file of its own, because nvcc takes its time.
void run_w4_fragments(const LinearArguments& a, const FragmentPlan& plan, cudaStream_t stream);
void run_w8_fragments(const LinearArguments& a, const FragmentPlan& plan, cudaStream_t stream);
void run_block_fragments(const LinearArguments& a, const FragmentPlan& plan, cudaStream_t stream);

}  // namespace vivace::cuda
