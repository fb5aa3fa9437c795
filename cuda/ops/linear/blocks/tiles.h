// The kernel for many rows of x and GGUF's quantised types: y in tiles of 128 (or 64) rows of the weight by 64 rows of
// x, eight warps of 32 (or 16) by 32.
//
// Weights come as they are stored, a step of 256 columns at a time, x (A8) half a step at a time, both by cp.async
// while the ones before are multiplied. Lanes take operands out of shared memory as the kernel for few rows does, and
// add in its order: groups within a step from zero, then the steps. So a row's bits are the same in both.
#pragma once
#include "cuda/ops/linear/blocks/products.h"

namespace vivace::cuda {

inline constexpr int block_tile_x = 64, block_tile_threads = 256;
inline constexpr int half_step = 4;                                                // blocks of x
inline constexpr int x_slot = half_step * static_cast<int>(sizeof(A8Block)) + 32;  // four rows in different banks
inline constexpr int x_stage = block_tile_x * x_slot;

// Shared memory has room for two steps of 128 rows of most types.
template <class Codec>
inline constexpr int block_tile_tiles = 2 * (128 * slot_bytes<Codec> + x_stage) <= 99 * 1024 ? 2 : 1;  // of a warp
template <class Codec>
inline constexpr int block_tile_out = 64 * block_tile_tiles<Codec>;

template <class Codec>
__global__ void __launch_bounds__(block_tile_threads, 1) multiply_block_tiles(LinearArguments a) {
  constexpr int MT = block_tile_tiles<Codec>, NT = 4, out = block_tile_out<Codec>, slot = slot_bytes<Codec>;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32, g = lane / 4, t = lane % 4;
  const int first = static_cast<int>(blockIdx.x) * out, batch = static_cast<int>(blockIdx.y) * block_tile_x;
  const int steps = (a.columns + Codec::columns - 1) / Codec::columns;
  const auto weights = dynamic_shared<uint8_t>(0, 2 * out * slot);
  const auto inputs = dynamic_shared<uint8_t>(2 * out * slot, 2 * x_stage);

  const auto copy_weights = [&](int step) {
    constexpr int chunks = slot / 16;
    const int size = static_cast<int>(int64_t{Codec::bytes} * step_columns<Codec>(a, step) / Codec::columns);
    for (int i = thread; i < out * chunks; i += block_tile_threads) {
      const int row = i / chunks, chunk = i % chunks;
      const uint8_t* begin = step_begin<Codec>(a, first + row, step);
      const int shift = static_cast<int>(reinterpret_cast<uintptr_t>(begin) & 15);
      if (16 * chunk < shift + size)
        copy_async<16>(weights, static_cast<size_t>((step % 2 * out + row) * slot + 16 * chunk),
                       begin - shift + 16 * chunk);
    }
  };
  const auto copy_x = [&](int half) {
    constexpr int chunks = half_step * static_cast<int>(sizeof(A8Block)) / 16;
    for (int i = thread; i < block_tile_x * chunks; i += block_tile_threads) {
      const int row = i / chunks, chunk = i % chunks, block = half * half_step + chunk / 4;
      const bool there = batch + row < a.rows && 32 * block < a.columns;
      const uint8_t* from = a.x + (there ? (batch + row) * a.x_stride + half * half_step * 64 + 16 * chunk : 0);
      copy_async<16>(inputs, static_cast<size_t>(half % 2 * x_stage + row * x_slot + 16 * chunk), from, there);
    }
  };

  const int from_weight = warp / 2 * (16 * MT), from_x = warp % 2 * (8 * NT);
  float total[MT][NT][4] = {};
  copy_weights(0);
  copy_x(0);
  commit_copies();
  for (int step = 0; step < steps; ++step) {
    float sums[MT][NT][4] = {};
    for (int h = 0; h < 2; ++h) {
      const int half = 2 * step + h, groups = step_columns<Codec>(a, step) / 32 - half_step * h;
      wait_copies<0>();
      __syncthreads();  // the operands are there, and nobody reads what is filled next
      if (h == 0 && step + 1 < steps) copy_weights(step + 1);
      if (half + 1 < 2 * steps) copy_x(half + 1);
      commit_copies();
      const auto row_of = [&](int row) {
        const auto shift = static_cast<int>(reinterpret_cast<uintptr_t>(step_begin<Codec>(a, first + row, step)) & 15);
        return StagedRow{weights + (step % 2 * out + row) * slot, shift};
      };
      for (int j = 0; j < half_step && j < groups; ++j) {
        const auto block = inputs + half % 2 * x_stage + j * static_cast<int>(sizeof(A8Block));
        BlockOperand<Codec> operands[MT];
        UNROLL
        for (int m = 0; m < MT; ++m) {
          const int row = from_weight + 16 * m + g;
          operands[m] = BlockOperand<Codec>(row_of(row), row_of(row + 8), half_step * h + j);
        }
        UNROLL
        for (int n = 0; n < NT; ++n) {
          const int own = from_x + 8 * n;
          const uint2 b = load_as<uint2>(block, static_cast<size_t>((own + g) * x_slot + 32 + 8 * t));
          const uint32_t columns_of_x[2] = {b.x, b.y};
          float4 heads[2], tails[2];
          UNROLL
          for (int c = 0; c < 2; ++c) {
            const auto at = static_cast<size_t>((own + 2 * t + c) * x_slot);
            heads[c] = load_as<float4>(block, at);
            tails[c] = Codec::has_min ? load_as<float4>(block, at + 16) : make_float4(0, 0, 0, 0);
          }
          UNROLL
          for (int m = 0; m < MT; ++m)
            multiply_block<Codec>(operands[m].codes, columns_of_x, operands[m].scales, heads, tails, sums[m][n]);
        }
      }
    }
    UNROLL
    for (int m = 0; m < MT; ++m) UNROLL
    for (int n = 0; n < NT; ++n) UNROLL
    for (int i = 0; i < 4; ++i) total[m][n][i] += sums[m][n][i];
  }

  UNROLL
  for (int m = 0; m < MT; ++m) UNROLL
  for (int n = 0; n < NT; ++n) UNROLL
  for (int i = 0; i < 4; ++i) {
    const int at = first + from_weight + 16 * m + g + i / 2 * 8, row = batch + from_x + 8 * n + 2 * t + i % 2;
    if (at < a.out && row < a.rows) a.store(total[m][n][i], row, at);
  }
}

template <class Codec>
dim3 block_tile_grid(const LinearArguments& a) {
  const auto over = [](int count, int size) { return static_cast<unsigned>((count + size - 1) / size); };
  return dim3(over(a.out, block_tile_out<Codec>), over(a.rows, block_tile_x));
}

// Not measured: a tile moves a sixth of the bytes per product that the kernel for few rows does, so it is worth having
// when a third of the multiprocessors has one.
template <class Codec>
bool tiles_serve(const LinearArguments& a) {
  const dim3 grid = block_tile_grid<Codec>(a);
  return wants_tiles(a) && (a.serve == Serve::tiles || int64_t{grid.x} * grid.y * 3 >= a.multiprocessors);
}

template <class Codec>
void launch_block_tiles(const LinearArguments& a, cudaStream_t stream) {
  constexpr size_t shared = 2 * (block_tile_out<Codec> * slot_bytes<Codec> + x_stage);
  static_assert(shared <= 99 * 1024, "what a block of compute capability 8.6 may have");
  launch<multiply_block_tiles<Codec>>(Launch{block_tile_grid<Codec>(a), dim3(block_tile_threads), shared, stream}, a);
}

}  // namespace vivace::cuda
