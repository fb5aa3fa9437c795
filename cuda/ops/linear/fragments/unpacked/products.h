// The kernel for unpacked weights (unpacked.h): a block has 8 strips of 16 rows of the weight (of gated ones 4 of gate
// and the same of up) and 64 or 128 rows of x, a warp 4 strips and 16 or 32 rows.
//
// A step is a piece of 32 columns: cp.async brings pieces and the tile of x, three steps ahead, one barrier per step.
// The sums are those of block_products.h: a product over the columns of one scale is a whole number, exact in every
// order; it is multiplied by scale times scale of x, then minimums are added, piece by piece within slices of 1024
// columns; slices are added to the whole. So the bits are the same.
#pragma once
#include "cuda/core/copy.h"
#include "cuda/core/launch.h"
#include "cuda/core/mma.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/linear/fragments/totals.h"
#include "cuda/ops/linear/fragments/unpacked/unpacked.h"

namespace vivace::cuda {

// Of a pass.
struct UnpackedProducts {
  const uint8_t* weights;  // pieces
  const uint8_t* x;        // [padded, 32 · blocks] f16
  const float* numbers;    // of x
  int first, strips;       // of the matrix
  int blocks, padded, rows;
  LinearTarget target;
  Gating gating;
};

template <bool halves, bool has_min, int NT>
struct UnpackedStage {
  __host__ __device__ static constexpr PieceLayout piece() { return {halves ? 2 : 1, has_min}; }
  static constexpr int rows = 32 * NT, warp_strips = 4, stages = 4;
  static constexpr int weights = unpacked_strips * piece().bytes(), x = 64 * rows;
  static constexpr int bytes = weights + x + 4 * rows * piece().numbers_of_x();
  static_assert(stages * bytes <= 99 * 1024);  // what a block of compute capability 8.6 may have
};

// Byte of a chunk of 16 of a row of x: eight rows lie in different banks.
__device__ inline size_t unpacked_place(int row, int chunk) {
  return static_cast<size_t>(row * 64 + (chunk ^ (row >> 1 & 3)) * 16);
}

// Sums of a warp's gates meet those of the other matrix, which it has, too; what comes out goes to y.
template <int NT>
__device__ inline void store_unpacked_gates(const UnpackedProducts& u, const float (&total)[4][NT][4],
                                            const Shared<float>& memory, int batch) {
  constexpr int width = 8 * unpacked_strips, stride = width + 4;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32), g = lane / 4,
            t = lane % 4;
  const int inner = static_cast<int>(blockIdx.x) * width, first = 16 * u.first + inner;
  const int end = min(u.target.out, 16 * (u.first + u.strips));
  UNROLL
  for (int m = 0; m < 2; ++m) UNROLL
  for (int n = 0; n < NT; ++n) UNROLL
  for (int i = 0; i < 4; ++i) {
    const int row = warp % 4 * 8 * NT + 8 * n + 2 * t + i % 2, at = warp / 4 * 32 + 16 * m + g + i / 2 * 8;
    const float gate = total[m][n][i];
    const float value = (u.gating.gelu ? activate<true>(gate) : activate<false>(gate)) * total[m + 2][n][i];
    if (u.gating.y != nullptr)
      memory[row * stride + at] = value;
    else if (first + at < end && batch + row < u.rows)
      u.target.y[static_cast<int64_t>(batch + row) * u.target.out + first + at] = value;
  }
  if (u.gating.y == nullptr) return;
  __syncthreads();
  // A warp takes 32 values of a row at a time.
  for (int i = warp; i < 32 * NT * 2; i += unpacked_threads / 32) {
    const int row = i / 2, at = i % 2 * 32;
    if (batch + row >= u.rows || first + at >= end) continue;
    quantize_block(memory[row * stride + at + lane],
                   u.gating.y + (static_cast<int64_t>(batch + row) * u.target.out + first + at) / 32);
  }
}

template <bool halves, bool has_min, int NT>
__global__ void __launch_bounds__(unpacked_threads, 1) multiply_unpacked(UnpackedProducts u) {
  using Stage = UnpackedStage<halves, has_min, NT>;
  constexpr PieceLayout piece = Stage::piece();
  constexpr int stages = Stage::stages, parts = piece.parts;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32, g = lane / 4, t = lane % 4;
  const int batch = static_cast<int>(blockIdx.y) * Stage::rows;
  const bool gated = u.gating.up != nullptr;
  const auto ring = dynamic_shared<uint8_t>(0, stages * Stage::bytes);

  // Warp w copies strip w; of gated ones warps multiply two of gate and the same two of up. What a thread copies has
  // the same place in every step, so that a step costs a few additions.
  const int own = gated ? static_cast<int>(blockIdx.x) * 4 + warp / 4 * 2 + warp % 2
                        : static_cast<int>(blockIdx.x) * unpacked_strips + warp;
  const int64_t strip = min(own, u.strips - 1) + (gated && warp % 4 >= 2 ? u.strips : 0);
  constexpr int chunks = Stage::rows / 4;  // of 16 bytes: a number of all rows
  const int64_t numbers = int64_t{piece.numbers_of_x()} * u.padded, half_tile = int64_t{64} * u.blocks * 64;
  const uint8_t* weights = u.weights + strip * u.blocks * piece.bytes() + 16 * lane;
  const uint8_t* x = u.x + (int64_t{batch} + thread / 4) * u.blocks * 64 + thread % 4 * 16;
  const float* numbers_of_x = u.numbers + int64_t{thread / chunks} * u.padded + batch + thread % chunks * 4;
  const auto to_weights = ring + (warp * piece.bytes() + 16 * lane);
  const auto to_x = ring + (Stage::weights + static_cast<int>(unpacked_place(thread / 4, thread % 4)));
  const auto to_numbers = ring + (Stage::weights + Stage::x + 16 * thread);
  const auto following = [](int slot) { return slot == (stages - 1) * Stage::bytes ? 0 : slot + Stage::bytes; };
  int filled = 0;
  const auto copy_step = [&] {
    const auto at = static_cast<size_t>(filled);
    UNROLL
    for (int i = 0; i < piece.bytes() / 16; i += 32)
      if (lane + i < piece.bytes() / 16) copy_async<16>(to_weights, at + static_cast<size_t>(16 * i), weights + 16 * i);
    UNROLL
    for (int i = 0; i < Stage::rows / 64; ++i)  // the swizzle is the same 64 rows on
      copy_async<16>(to_x, at + static_cast<size_t>(64 * 64 * i), x + i * half_tile);
    if (thread < chunks * piece.numbers_of_x()) copy_async<16>(to_numbers, at, numbers_of_x);
    weights += piece.bytes();
    x += 64;
    numbers_of_x += numbers;
    filled = following(filled);
  };
  for (int i = 0; i < stages - 1; ++i) {
    if (i < u.blocks) copy_step();
    commit_copies();
  }

  const int own_rows = warp % 4 * 8 * NT;  // of the tile
  const auto own_weights = ring + (warp / 4 * 4 * piece.bytes() + 16 * lane);
  const auto own_scales = ring + (warp / 4 * 4 * piece.bytes() + PieceLayout::code_bytes + 4 * g);
  const auto own_x = ring + (Stage::weights + static_cast<int>(unpacked_place(own_rows + lane % 8, lane / 8)));
  const auto own_numbers = ring + (Stage::weights + Stage::x + 4 * (own_rows + 2 * t));
  float sums[4][NT][4] = {}, total[4][NT][4] = {};
  int slot = 0, left_of_slice = 4 * slice_units;
  for (int step = 0; step < u.blocks; ++step) {
    wait_copies<stages - 2>();
    __syncthreads();  // the step's operands are there, and nobody reads what is filled next
    if (step + stages - 1 < u.blocks) copy_step();
    commit_copies();
    const auto at = static_cast<size_t>(slot);
    slot = following(slot);
    uint32_t right[NT][4];
    float2 of_x[NT], sums_of_x[NT][parts];
    UNROLL
    for (int n = 0; n < NT; ++n) {
      load_matrices(right[n], own_x, at + static_cast<size_t>(512 * n));
      const size_t number = at + static_cast<size_t>(32 * n);
      of_x[n] = load_as<float2>(own_numbers, number);
      if constexpr (has_min) UNROLL
      for (int p = 0; p < parts; ++p)
        sums_of_x[n][p] = load_as<float2>(own_numbers, number + static_cast<size_t>(4 * Stage::rows * (1 + p)));
    }
    UNROLL
    for (int m = 0; m < 4; ++m) {
      const size_t begin = at + static_cast<size_t>(m * piece.bytes());
      uint32_t left[2][4];
      UNROLL
      for (int p = 0; p < 2; ++p) {
        const uint4 four = load_as<uint4>(own_weights, begin + static_cast<size_t>(512 * p));
        left[p][0] = four.x, left[p][1] = four.y, left[p][2] = four.z, left[p][3] = four.w;
      }
      float scale[parts][2], min[parts][2] = {};
      UNROLL
      for (int p = 0; p < parts; ++p) UNROLL
      for (int half = 0; half < 2; ++half) {
        const size_t place = begin + static_cast<size_t>(64 * p + 32 * half);
        scale[p][half] = load_as<float>(own_scales, place);
        if constexpr (has_min) min[p][half] = load_as<float>(own_scales, place + 64 * parts);
      }
      UNROLL
      for (int n = 0; n < NT; ++n) UNROLL
      for (int p = 0; p < parts; ++p) {
        float dots[4] = {};
        UNROLL
        for (int q = p; q < (halves ? p + 1 : 2); ++q) {
          const uint32_t both[2] = {right[n][2 * q], right[n][2 * q + 1]};
          multiply_f16(dots, left[q], both);
        }
        UNROLL
        for (int i = 0; i < 4; ++i)
          sums[m][n][i] = fmaf(dots[i], scale[p][i / 2] * (i % 2 == 0 ? of_x[n].x : of_x[n].y), sums[m][n][i]);
        if constexpr (has_min) UNROLL
        for (int i = 0; i < 4; ++i)
          sums[m][n][i] = fmaf(min[p][i / 2], i % 2 == 0 ? sums_of_x[n][p].x : sums_of_x[n][p].y, sums[m][n][i]);
      }
    }
    if (--left_of_slice > 0 && step + 1 < u.blocks) continue;
    left_of_slice = 4 * slice_units;
    UNROLL
    for (int m = 0; m < 4; ++m) UNROLL
    for (int n = 0; n < NT; ++n) UNROLL
    for (int i = 0; i < 4; ++i) {
      total[m][n][i] += sums[m][n][i];
      sums[m][n][i] = 0;
    }
  }

  if (gated) {
    wait_copies<0>();
    __syncthreads();  // nobody reads the ring any more
    constexpr int count = Stage::rows * (8 * unpacked_strips + 4);
    return store_unpacked_gates<NT>(u, total, dynamic_shared<float>(0, count), batch);
  }
  UNROLL
  for (int m = 0; m < 4; ++m) UNROLL
  for (int n = 0; n < NT; ++n) UNROLL
  for (int i = 0; i < 4; ++i) {
    const int within = static_cast<int>(blockIdx.x) * unpacked_strips + warp / 4 * 4 + m;
    const int at = 16 * (u.first + within) + g + i / 2 * 8, row = batch + warp % 4 * 8 * NT + 8 * n + 2 * t + i % 2;
    if (within < u.strips && at < u.target.out && row < u.rows) u.target.store(total[m][n][i], row, at);
  }
}

template <bool halves, bool has_min, int NT>
void launch_unpacked(const UnpackedProducts& u, cudaStream_t stream) {
  using Stage = UnpackedStage<halves, has_min, NT>;
  const int each = u.gating.up != nullptr ? unpacked_strips / 2 : unpacked_strips;
  const dim3 grid(static_cast<unsigned>((u.strips + each - 1) / each), static_cast<unsigned>(u.padded / Stage::rows));
  launch<multiply_unpacked<halves, has_min, NT>>(
      Launch{grid, dim3(unpacked_threads), static_cast<size_t>(Stage::stages) * Stage::bytes, stream}, u);
}

}  // namespace vivace::cuda
