// Products with experts of F32: a warp has some rows of the matrix, its lanes eight columns of every 256. Sums are
// those of linear, in its order.
#include "cuda/core/launch.h"
#include "cuda/core/shared.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/experts/arguments.h"

namespace vivace::cuda {
namespace {

constexpr int float_warps = 4;

// Rows of the matrix per warp.
template <int R>
inline constexpr int matrix_rows = R == 8 ? 2 : 4;

__device__ inline void read_eight(const uint8_t* at, float (&out)[8]) {
  const float4 a = load_as<float4>(at, 0), b = load_as<float4>(at, 16);
  out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
  out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
}

template <int R>
__device__ inline void sum_rows(const ExpertProducts& a, const uint8_t* matrix, int first, const Shared<int>& own,
                                float (&sums)[matrix_rows<R>][R]) {
  const uint8_t* x[R];
  UNROLL
  for (int r = 0; r < R; ++r) {
    const int pair = own[r];
    x[r] = a.x + (pair < 0 ? int64_t{0} : pair / a.x_pairs * a.x_stride);
  }
  for (int k = 8 * static_cast<int>(threadIdx.x % 32); k < a.columns; k += 256) {
    float weights[matrix_rows<R>][8];
    UNROLL
    for (int n = 0; n < matrix_rows<R>; ++n)
      read_eight(matrix + min(first + n, a.out - 1) * a.stride + int64_t{k} * 4, weights[n]);
    UNROLL
    for (int r = 0; r < R; ++r) {
      float of_x[8];
      read_eight(x[r] + int64_t{k} * 4, of_x);
      UNROLL
      for (int n = 0; n < matrix_rows<R>; ++n) {
        float part = 0;
        UNROLL
        for (int i = 0; i < 8; ++i) part = fmaf(weights[n][i], of_x[i], part);
        sums[n][r] += part;
      }
    }
  }
  UNROLL
  for (int n = 0; n < matrix_rows<R>; ++n) UNROLL
  for (int r = 0; r < R; ++r)
    for (int step = 16; step > 0; step /= 2) sums[n][r] += __shfl_xor_sync(0xffffffffu, sums[n][r], step);
}

template <int R>
__global__ void __launch_bounds__(32 * float_warps, 1) multiply_float_experts(ExpertProducts a) {
  SHARED(int, own, R);
  const int expert = find_tile<R>(a.tiles, own);
  if (expert < 0) return;
  constexpr int rows = matrix_rows<R>;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int first = (static_cast<int>(blockIdx.x) * float_warps + static_cast<int>(threadIdx.x / 32)) * rows;
  if (first >= a.out) return;
  float sums[rows][R] = {};
  if (expert < a.tiles.experts) {
    sum_rows<R>(a, a.weight + expert * a.expert_bytes, first, own, sums);
    if (a.up != nullptr) {
      float ups[rows][R] = {};
      sum_rows<R>(a, a.up + expert * a.expert_bytes, first, own, ups);
      UNROLL
      for (int n = 0; n < rows; ++n) UNROLL
      for (int r = 0; r < R; ++r) sums[n][r] = a.gated(sums[n][r], ups[n][r]);
    }
  }
  UNROLL
  for (int n = 0; n < rows; ++n) UNROLL
  for (int r = 0; r < R; ++r) {
    const int pair = own[r];
    if (lane == (n * R + r) % 32 && first + n < a.out && pair >= 0)
      a.y[static_cast<int64_t>(pair) * a.out + first + n] = sums[n][r];
  }
}

template <int R>
void launch_floats(const ExpertProducts& a, cudaStream_t stream) {
  constexpr int tile = float_warps * matrix_rows<R>;
  const dim3 grid(static_cast<unsigned>((a.out + tile - 1) / tile), static_cast<unsigned>(a.tiles.tiles));
  launch<multiply_float_experts<R>>(Launch{grid, dim3(32 * float_warps), 0, stream}, a);
}

}  // namespace

void run_float_experts(const ExpertProducts& a, cudaStream_t stream) {
  if (a.tiles.tile == 1)
    launch_floats<1>(a, stream);
  else if (a.tiles.tile == 4)
    launch_floats<4>(a, stream);
  else
    launch_floats<8>(a, stream);
}

}  // namespace vivace::cuda
