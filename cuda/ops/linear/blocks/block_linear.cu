// linear for GGUF's quantised types: x is A8, so 32 columns of 8 rows of x by 16 rows of the weight are one product of
// bytes on tensor cores, whose sums are exact; scales of both sides follow in float.
#include "cuda/ops/linear/blocks/products.h"
#include "cuda/ops/linear/blocks/tiles.h"

namespace vivace::cuda {
namespace {

// For few rows of x, which come from the caches.
template <class Codec>
struct Blocks {
  using Sum = float;
  static constexpr int columns = Codec::columns, bytes = Codec::bytes, header = Codec::header, row_tiles = 1;

  template <int NT, class RowOf>
  __device__ static void multiply(const LinearArguments& a, RowOf row_of, int, int batch, int step, int groups,
                                  float (&sums)[1][NT][4]) {
    const int g = static_cast<int>(threadIdx.x % 32 / 4), t = static_cast<int>(threadIdx.x % 4);
    const StagedRow rows[2] = {row_of(g), row_of(g + 8)};
    for (int j = 0; j < groups; ++j) {
      const BlockOperand<Codec> weights(rows[0], rows[1], j);
      UNROLL
      for (int n = 0; n < NT; ++n) {
        const uint8_t* x = a.x + (static_cast<int64_t>(step) * 8 + j) * static_cast<int64_t>(sizeof(A8Block));
        const int own = batch + 8 * n + g;
        uint2 b = make_uint2(0, 0);
        if (own < a.rows)
          b = load_as<uint2>(x + own * a.x_stride + offsetof(A8Block, codes), static_cast<size_t>(8 * t));
        const uint32_t columns_of_x[2] = {b.x, b.y};
        float4 first[2], second[2];
        UNROLL
        for (int c = 0; c < 2; ++c) {
          const int row = batch + 8 * n + 2 * t + c;
          first[c] = second[c] = make_float4(0, 0, 0, 0);
          if (row >= a.rows) continue;
          first[c] = load_as<float4>(x + row * a.x_stride, 0);
          if constexpr (Codec::has_min) second[c] = load_as<float4>(x + row * a.x_stride, 16);
        }
        multiply_block<Codec>(weights.codes, columns_of_x, weights.scales, first, second, sums[0][n]);
      }
    }
  }

  __device__ static float finish(const LinearArguments&, float sum, int, int) { return sum; }
};

template <class Codec>
bool run(const LinearArguments& a, cudaStream_t stream) {
  if (tiles_serve<Codec>(a))
    launch_block_tiles<Codec>(a, stream);
  else
    launch_staged<Blocks<Codec>>(a, stream);
  return true;
}

}  // namespace

bool block_linear(const LinearArguments& a, cudaStream_t stream) {
  switch (a.dtype) {
    case DType::Q4_0:
      return run<CodecQ4_0>(a, stream);
    case DType::Q4_1:
      return run<CodecQ4_1>(a, stream);
    case DType::Q5_0:
      return run<CodecQ5_0>(a, stream);
    case DType::Q5_1:
      return run<CodecQ5_1>(a, stream);
    case DType::Q8_0:
      return run<CodecQ8_0>(a, stream);
    case DType::Q2_K:
      return run<CodecQ2_K>(a, stream);
    case DType::Q3_K:
      return run<CodecQ3_K>(a, stream);
    case DType::Q4_K:
      return run<CodecQ4_K>(a, stream);
    case DType::Q5_K:
      return run<CodecQ5_K>(a, stream);
    case DType::Q6_K:
      return run<CodecQ6_K>(a, stream);
    case DType::IQ4_NL:
      return run<CodecIQ4_NL>(a, stream);
    case DType::IQ4_XS:
      return run<CodecIQ4_XS>(a, stream);
    default:
      return false;
  }
}

}  // namespace vivace::cuda
