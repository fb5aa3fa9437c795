// Products with experts of F16 and BF16 on tensor cores, for one pair as for many: weights as they are stored, x in
// float made of numbers of 16 bits, of which as many as it takes are multiplied: two F16 under a power of two for 32
// columns (22 bits of the largest), or three BF16, which is all of a float.
//
// A warp has two strips of 16 rows of the matrix, with a gate the same strip of both matrices, and a tile of 8 · NT
// pairs. Which column is which k of a product is free: lane (g = lane / 4, t = lane % 4) takes columns 8t … 8t + 7 of
// every 32, 16 bytes of a row. 32 columns are added up from zero, and then to the sum, in their order.
#include <cuda_fp16.h>

#include "cuda/core/launch.h"
#include "cuda/core/mma.h"
#include "cuda/core/packed.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/experts/arguments.h"

namespace vivace::cuda {
namespace {

constexpr int half_warps = 4, ahead = 4;  // steps of 32 columns whose weights are on their way

// Eight neighbouring values of x as words of two numbers of 16 bits.
struct HalfWeights {
  static constexpr int parts = 2;
  __device__ static void multiply(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    multiply_f16(sums, a, b);
  }
  // Gives what sums must be multiplied with. Lanes of a row hold its 32 columns.
  __device__ static float split(const float (&x)[8], uint32_t (&words)[parts][4]) {
    uint32_t top = 0;
    UNROLL
    for (int i = 0; i < 8; ++i) top = max(top, __float_as_uint(x[i]) & 0x7fffffffu);
    for (int step = 1; step < 4; step *= 2) top = max(top, __shfl_xor_sync(0xffffffffu, top, step));
    // 2^(14 - exponent of the largest); its reciprocal must be a normal number.
    const uint32_t up = min(268u - (top >> 23), 253u);
    const float factor = __uint_as_float(up << 23);
    UNROLL
    for (int i = 0; i < 4; ++i) {
      uint32_t both[2];
      split_f16(x[2 * i] * factor, x[2 * i + 1] * factor, both);
      words[0][i] = both[0], words[1][i] = both[1];
    }
    return __uint_as_float((254u - up) << 23);
  }
};
struct BrainWeights {
  static constexpr int parts = 3;
  __device__ static void multiply(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    multiply_bf16(sums, a, b);
  }
  __device__ static float split(const float (&x)[8], uint32_t (&words)[parts][4]) {
    UNROLL
    for (int i = 0; i < 4; ++i) {
      uint32_t three[3];
      split_bf16(x[2 * i], x[2 * i + 1], three);
      UNROLL
      for (int p = 0; p < 3; ++p) words[p][i] = three[p];
    }
    return 1.0f;
  }
};

// Columns from `column` on of a row; zeros beyond the last.
__device__ inline uint4 load_weights(const uint8_t* row, int column, int columns) {
  return column < columns ? load_as<uint4>(row, static_cast<size_t>(2 * column)) : make_uint4(0, 0, 0, 0);
}

template <class Weights, int NT>
__global__ void __launch_bounds__(32 * half_warps, 1) multiply_half_experts(ExpertProducts a) {
  SHARED(int, own, 8 * NT);
  const int expert = find_tile<8 * NT>(a.tiles, own);
  if (expert < 0) return;
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const int number = static_cast<int>(blockIdx.x) * half_warps + static_cast<int>(threadIdx.x / 32);
  const int first = number * (a.up != nullptr ? 16 : 32);
  if (first >= a.out) return;
  float sums[2][NT][4] = {};
  if (expert < a.tiles.experts) {
    const uint8_t* rows[2][2];  // of strip m: rows g and g + 8
    UNROLL
    for (int m = 0; m < 2; ++m) UNROLL
    for (int half = 0; half < 2; ++half) {
      const uint8_t* matrix = m == 1 && a.up != nullptr ? a.up : a.weight;
      const int row = first + g + 8 * half + (a.up != nullptr ? 0 : 16 * m);
      rows[m][half] = matrix + expert * a.expert_bytes + min(row, a.out - 1) * a.stride;
    }
    const uint8_t* x[NT];
    UNROLL
    for (int n = 0; n < NT; ++n) {
      const int pair = own[8 * n + g];
      x[n] = pair < 0 ? nullptr : a.x + pair / a.x_pairs * a.x_stride;
    }
    uint4 loaded[ahead][2][2];
    UNROLL
    for (int i = 0; i < ahead; ++i) UNROLL
    for (int m = 0; m < 2; ++m) UNROLL
    for (int half = 0; half < 2; ++half) loaded[i][m][half] = load_weights(rows[m][half], 32 * i + 8 * t, a.columns);
    for (int from = 0; from < a.columns; from += 32 * ahead) UNROLL
    for (int i = 0; i < ahead; ++i) {
      const int column = from + 32 * i + 8 * t;
      if (from + 32 * i >= a.columns) break;
      uint32_t weights[2][2][4];  // strip, product of 16 columns
      UNROLL
      for (int m = 0; m < 2; ++m) {
        const uint4 low = loaded[i][m][0], high = loaded[i][m][1];
        weights[m][0][0] = low.x, weights[m][0][1] = high.x, weights[m][0][2] = low.y, weights[m][0][3] = high.y;
        weights[m][1][0] = low.z, weights[m][1][1] = high.z, weights[m][1][2] = low.w, weights[m][1][3] = high.w;
        UNROLL
        for (int half = 0; half < 2; ++half)
          loaded[i][m][half] = load_weights(rows[m][half], column + 32 * ahead, a.columns);
      }
      UNROLL
      for (int n = 0; n < NT; ++n) {
        float values[8] = {};
        if (x[n] != nullptr && column < a.columns) {
          const float4 one = load_as<float4>(x[n], static_cast<size_t>(4 * column));
          const float4 two = load_as<float4>(x[n], static_cast<size_t>(4 * column + 16));
          values[0] = one.x, values[1] = one.y, values[2] = one.z, values[3] = one.w;
          values[4] = two.x, values[5] = two.y, values[6] = two.z, values[7] = two.w;
        }
        uint32_t words[Weights::parts][4];
        const float scale = Weights::split(values, words);
        float of_column[2];
        UNROLL
        for (int c = 0; c < 2; ++c) of_column[c] = __shfl_sync(0xffffffffu, scale, 4 * (2 * t + c));
        UNROLL
        for (int m = 0; m < 2; ++m) {
          float part[4] = {};
          UNROLL
          for (int k = 0; k < 2; ++k) UNROLL
          for (int p = 0; p < Weights::parts; ++p) {
            const uint32_t b[2] = {words[p][2 * k], words[p][2 * k + 1]};
            Weights::multiply(part, weights[m][k], b);
          }
          UNROLL
          for (int c = 0; c < 4; ++c) sums[m][n][c] = fmaf(part[c], of_column[c % 2], sums[m][n][c]);
        }
      }
    }
  }
  UNROLL
  for (int n = 0; n < NT; ++n) UNROLL
  for (int c = 0; c < 4; ++c) {
    const int pair = own[8 * n + 2 * t + c % 2], row = first + g + c / 2 * 8;
    if (pair < 0) continue;
    float* y = a.y + static_cast<int64_t>(pair) * a.out;
    if (a.up != nullptr) {
      if (row < a.out) y[row] = a.gated(sums[0][n][c], sums[1][n][c]);
      continue;
    }
    UNROLL
    for (int m = 0; m < 2; ++m)
      if (row + 16 * m < a.out) y[row + 16 * m] = sums[m][n][c];
  }
}

template <class Weights, int NT>
void launch_half(const ExpertProducts& a, cudaStream_t stream) {
  const int rows = half_warps * (a.up != nullptr ? 16 : 32);
  const dim3 grid(static_cast<unsigned>((a.out + rows - 1) / rows), static_cast<unsigned>(a.tiles.tiles));
  launch<multiply_half_experts<Weights, NT>>(Launch{grid, dim3(32 * half_warps), 0, stream}, a);
}

template <class Weights>
void run(const ExpertProducts& a, cudaStream_t stream) {
  if (a.tiles.tile == 8)
    launch_half<Weights, 1>(a, stream);
  else if (a.tiles.tile == 16)
    launch_half<Weights, 2>(a, stream);
  else
    launch_half<Weights, 4>(a, stream);
}

}  // namespace

void run_half_experts(const ExpertProducts& a, cudaStream_t stream) {
  if (a.dtype == DType::F16)
    run<HalfWeights>(a, stream);
  else
    run<BrainWeights>(a, stream);
}

}  // namespace vivace::cuda
