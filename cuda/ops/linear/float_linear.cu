// linear for F32, F16 and BF16 weights and few rows of x: a warp has four rows of the weight (two, where more would not
// fit its registers), its lanes eight columns of every 256; each weight becomes a float once for up to eight rows of x.
// Loads are of 16 bytes.
#include <cuda_fp16.h>

#include "cuda/core/launch.h"
#include "cuda/core/shared.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/linear/arguments.h"

namespace vivace::cuda {
namespace {

constexpr int float_warps = 4;

// Rows of the weight per warp, for R rows of x.
template <int R>
inline constexpr int float_rows = R == 8 ? 2 : 4;

struct Floats32 {
  static constexpr int size = 4;
  __device__ static void read(const uint8_t* at, float (&out)[8]) {
    const float4 a = load_as<float4>(at, 0), b = load_as<float4>(at, 16);
    out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
    out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
  }
};
struct Floats16 {
  static constexpr int size = 2;
  __device__ static void read(const uint8_t* at, float (&out)[8]) {
    const uint4 all = load_as<uint4>(at, 0);
    const uint32_t words[4] = {all.x, all.y, all.z, all.w};
    UNROLL
    for (int i = 0; i < 8; ++i) {
      const auto bits = static_cast<unsigned short>(words[i / 2] >> (i % 2 * 16));
      out[i] = __half2float(__ushort_as_half(bits));
    }
  }
};
struct BrainFloats {
  static constexpr int size = 2;
  __device__ static void read(const uint8_t* at, float (&out)[8]) {
    const uint4 all = load_as<uint4>(at, 0);
    const uint32_t words[4] = {all.x, all.y, all.z, all.w};
    UNROLL
    for (int i = 0; i < 8; ++i) out[i] = __uint_as_float(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u);
  }
};

template <class Weight, int R>
__global__ void __launch_bounds__(32 * float_warps, 1) multiply_floats(LinearArguments a) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int first = (static_cast<int>(blockIdx.x) * float_warps + static_cast<int>(threadIdx.x / 32)) * float_rows<R>;
  const int batch = static_cast<int>(blockIdx.y) * R;
  if (first >= a.out) return;
  float sums[float_rows<R>][R] = {};
  for (int k = 8 * lane; k < a.columns; k += 256) {
    float weights[float_rows<R>][8];
    UNROLL
    for (int n = 0; n < float_rows<R>; ++n)
      Weight::read(a.weight + min(first + n, a.out - 1) * a.stride + int64_t{k} * Weight::size, weights[n]);
    UNROLL
    for (int r = 0; r < R; ++r) {
      float x[8];
      Floats32::read(a.x + min(batch + r, a.rows - 1) * a.x_stride + int64_t{k} * 4, x);
      UNROLL
      for (int n = 0; n < float_rows<R>; ++n) {
        float part = 0;
        UNROLL
        for (int i = 0; i < 8; ++i) part = fmaf(weights[n][i], x[i], part);
        sums[n][r] += part;
      }
    }
  }
  UNROLL
  for (int n = 0; n < float_rows<R>; ++n) UNROLL
  for (int r = 0; r < R; ++r) {
    float sum = sums[n][r];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (lane == (n * R + r) % 32 && first + n < a.out && batch + r < a.rows) a.store(sum, batch + r, first + n);
  }
}

template <class Weight, int R>
void launch_rows(const LinearArguments& a, cudaStream_t stream) {
  constexpr int tile = float_warps * float_rows<R>;
  const dim3 grid(static_cast<unsigned>((a.out + tile - 1) / tile), static_cast<unsigned>((a.rows + R - 1) / R));
  launch<multiply_floats<Weight, R>>(Launch{grid, dim3(32 * float_warps), 0, stream}, a);
}

template <class Weight>
bool run(const LinearArguments& a, cudaStream_t stream) {
  if (a.columns % 8 != 0) return false;
  if (a.rows == 1)
    launch_rows<Weight, 1>(a, stream);
  else if (a.rows == 2)
    launch_rows<Weight, 2>(a, stream);
  else if (a.rows <= 4)
    launch_rows<Weight, 4>(a, stream);
  else
    launch_rows<Weight, 8>(a, stream);
  return true;
}

}  // namespace

bool float_linear(const LinearArguments& a, cudaStream_t stream) {
  switch (a.dtype) {
    case DType::F32:
      return run<Floats32>(a, stream);
    case DType::F16:
      return run<Floats16>(a, stream);
    case DType::BF16:
      return run<BrainFloats>(a, stream);
    default:
      return false;
  }
}

}  // namespace vivace::cuda
