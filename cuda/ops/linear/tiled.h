// The kernel for many rows: y in tiles of 128 rows of the weight by 32 · NT rows of x, eight warps of 64 by 8 · NT
// each.
//
// Both operands lie in shared memory as rows of 64 bytes (32 floats of 16 bits, or 64 codes) that ldmatrix reads:
// chunks of 16 bytes are swapped by exclusive or with bits 1 and 2 of the row, so that eight rows lie in different
// banks. Weights that are stored as they are multiplied come by cp.async, three stages; others, and x, go through
// registers, where they are converted, a step ahead. One barrier per step. Sums are formed in order of k in every tile,
// so a row's bits are the same in every batch that this kernel serves.
//
// A kind says what is multiplied:
//   Sum, multiply        float or int, and its product on tensor cores
//   step                 columns of a step: 64 bytes
//   is_async             chunks of the weight are copied: copy(…); else chunk(…) gives 16 bytes of them
//   x(…)                 16 bytes of a row of x
//   finish(…)            what a sum becomes
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/core/copy.h"
#include "cuda/core/launch.h"
#include "cuda/core/mma.h"
#include "cuda/core/packed.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/linear/arguments.h"

namespace vivace::cuda {

inline constexpr int tile_out = 128, tiled_threads = 256, tiled_stages = 3;

// Byte of a chunk of a row.
__device__ inline size_t tile_place(int row, int chunk) {
  return static_cast<size_t>(row * 64 + (chunk ^ (row >> 1 & 3)) * 16);
}

template <class Kind, int NT>
__global__ void __launch_bounds__(tiled_threads, 1) tiled_products(ProductArguments a) {
  constexpr int tile_rows = 32 * NT, weight_chunks = tile_out * 4 / tiled_threads;
  constexpr int x_chunks = tile_rows * 4 / tiled_threads, per_chunk = Kind::step / 4;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int first = static_cast<int>(blockIdx.x) * tile_out, batch = static_cast<int>(blockIdx.y) * tile_rows;
  const int steps = (a.columns + Kind::step - 1) / Kind::step;
  const auto weights = dynamic_shared<uint8_t>(0, tiled_stages * tile_out * 64);
  const auto inputs = dynamic_shared<uint8_t>(tiled_stages * tile_out * 64, 2 * tile_rows * 64);
  const auto weight_stage = [&](int step) { return weights + step % tiled_stages * (tile_out * 64); };
  const auto input_stage = [&](int step) { return inputs + step % 2 * (tile_rows * 64); };

  // Thread i has chunk i % 4 of rows i / 4, i / 4 + 64 and so on.
  const int chunk = thread % 4, chunk_row = thread / 4;
  uint4 held_weights[weight_chunks], held_x[x_chunks];
  const auto column_of = [&](int step) { return step * Kind::step + chunk * per_chunk; };
  const auto copy_weights = [&](int step) {
    if constexpr (Kind::is_async) {
      UNROLL
      for (int i = 0; i < weight_chunks; ++i) {
        const int row = chunk_row + 64 * i, n = first + row, k = column_of(step);
        const bool there = n < a.out && k < a.columns;
        Kind::copy(weight_stage(step), tile_place(row, chunk), a, there ? n : 0, there ? k : 0, there);
      }
    }
  };
  const auto load = [&](int step) {
    const int k = column_of(step);
    if constexpr (!Kind::is_async) {
      UNROLL
      for (int i = 0; i < weight_chunks; ++i) {
        const int n = first + chunk_row + 64 * i;
        held_weights[i] = make_uint4(0, 0, 0, 0);
        if (n < a.out && k < a.columns) held_weights[i] = Kind::chunk(a, n, k);
      }
    }
    UNROLL
    for (int i = 0; i < x_chunks; ++i) {
      const int row = batch + chunk_row + 64 * i;
      held_x[i] = make_uint4(0, 0, 0, 0);
      if (row < a.rows && k < a.columns) held_x[i] = Kind::x(a, row, k);
    }
  };
  const auto store = [&](int step) {
    if constexpr (!Kind::is_async) {
      UNROLL
      for (int i = 0; i < weight_chunks; ++i)
        store_as(weight_stage(step), tile_place(chunk_row + 64 * i, chunk), held_weights[i]);
    }
    UNROLL
    for (int i = 0; i < x_chunks; ++i) store_as(input_stage(step), tile_place(chunk_row + 64 * i, chunk), held_x[i]);
  };

  typename Kind::Sum sums[4][NT][4] = {};
  for (int i = 0; i < tiled_stages - 1; ++i) {
    if (i < steps) copy_weights(i);
    commit_copies();
  }
  load(0);
  store(0);
  const int from_weight = warp / 4 * 64, from_x = warp % 4 * 8 * NT;
  for (int step = 0; step < steps; ++step) {
    if (step + 1 < steps) load(step + 1);
    wait_copies<tiled_stages - 2>();
    __syncthreads();  // the step's operands are there, and nobody reads what is filled next
    if (step + tiled_stages - 1 < steps) copy_weights(step + tiled_stages - 1);
    commit_copies();
    const auto weight_tile = weight_stage(step), input_tile = input_stage(step);
    UNROLL
    for (int half = 0; half < 2; ++half) {
      uint32_t left[4][4];
      UNROLL
      for (int m = 0; m < 4; ++m)
        load_matrices(left[m], weight_tile, tile_place(from_weight + 16 * m + lane % 16, 2 * half + lane / 16));
      UNROLL
      for (int n = 0; n < NT; n += 2) {
        // Two columns of products: rows of x n … n + 7 with both chunks, then the next eight.
        uint32_t right[4];
        load_matrices(right, input_tile,
                      tile_place(from_x + 8 * n + lane / 16 * 8 + lane % 8, 2 * half + lane / 8 % 2));
        const uint32_t one[2] = {right[0], right[1]}, two[2] = {right[2], right[3]};
        UNROLL
        for (int m = 0; m < 4; ++m) {
          Kind::multiply(sums[m][n], left[m], one);
          Kind::multiply(sums[m][n + 1], left[m], two);
        }
      }
    }
    if (step + 1 < steps) store(step + 1);
  }

  UNROLL
  for (int m = 0; m < 4; ++m) UNROLL
  for (int n = 0; n < NT; ++n) UNROLL
  for (int i = 0; i < 4; ++i) {
    const int at = first + from_weight + 16 * m + lane / 4 + i / 2 * 8;
    const int row = batch + from_x + 8 * n + lane % 4 * 2 + i % 2;
    if (at < a.out && row < a.rows) a.store(Kind::finish(a, sums[m][n][i], row, at), row, at);
  }
}

template <class Kind, int NT>
void launch_tiled_rows(const LinearArguments& a, cudaStream_t stream) {
  constexpr int tile_rows = 32 * NT;
  const dim3 grid(static_cast<unsigned>((a.out + tile_out - 1) / tile_out),
                  static_cast<unsigned>((a.rows + tile_rows - 1) / tile_rows));
  constexpr size_t shared = tiled_stages * tile_out * 64 + 2 * tile_rows * 64;
  launch<tiled_products<Kind, NT>>(Launch{grid, dim3(tiled_threads), shared, stream},
                                   static_cast<const ProductArguments&>(a));
}

// Tiles of `tile` rows; 0: the largest that still keep a card's 100 and more multiprocessors busy.
template <class Kind>
void launch_tiled(const LinearArguments& a, int tile, cudaStream_t stream) {
  const auto serves = [&](int size) {
    if (tile != 0) return tile == size;
    const int64_t tiles = int64_t{(a.out + tile_out - 1) / tile_out} * ((a.rows + size - 1) / size);
    return a.rows > size / 2 && tiles >= 100;
  };
  if (serves(256))
    launch_tiled_rows<Kind, 8>(a, stream);
  else if (serves(128))
    launch_tiled_rows<Kind, 4>(a, stream);
  else
    launch_tiled_rows<Kind, 2>(a, stream);
}

}  // namespace vivace::cuda
