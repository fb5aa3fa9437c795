// linear for GGUF's quantised types: x is A8, so 32 columns of 8 rows of x by 16 rows of the weight are one product of
// bytes on tensor cores, whose sums are exact; scales of both sides follow in float.
#include "cuda/ops/linear/block_codecs.h"
#include "ops/linear/a8.h"

namespace vivace::cuda {
namespace {

template <class Codec>
struct Blocks {
  using Sum = float;
  static constexpr int columns = Codec::columns, bytes = Codec::bytes, header = 0, row_tiles = 1;

  template <int NT, class RowOf>
  __device__ static void multiply(const LinearArguments& a, RowOf row_of, int, int batch, int step, int groups,
                                  float (&sums)[1][NT][4]) {
    const int g = static_cast<int>(threadIdx.x % 32 / 4), t = static_cast<int>(threadIdx.x % 4);
    const StagedRow rows[2] = {row_of(g), row_of(g + 8)};
    for (int j = 0; j < groups; ++j) {
      uint32_t codes[2][2];
      Codec::codes(rows[0], j, t, codes[0]);
      Codec::codes(rows[1], j, t, codes[1]);
      ScaleAndMin scales[2][2];  // of both rows; by half
      UNROLL
      for (int h = 0; h < (Codec::halves ? 2 : 1); ++h) {
        scales[0][h] = Codec::scales(rows[0], j, h);
        scales[1][h] = Codec::scales(rows[1], j, h);
      }
      UNROLL
      for (int n = 0; n < NT; ++n) {
        const uint8_t* x = a.x + (static_cast<int64_t>(step) * 8 + j) * static_cast<int64_t>(sizeof(A8Block));
        const int own = batch + 8 * n + g;
        uint2 b = make_uint2(0, 0);
        if (own < a.rows)
          b = load_as<uint2>(x + own * a.x_stride + offsetof(A8Block, codes), static_cast<size_t>(8 * t));
        const uint32_t columns_of_x[2] = {b.x, b.y};
        float4 first[2], second[2];  // of the two rows of x that this lane has sums of: scale, minus_sums; scaled_sums
        UNROLL
        for (int c = 0; c < 2; ++c) {
          const int row = batch + 8 * n + 2 * t + c;
          first[c] = second[c] = make_float4(0, 0, 0, 0);
          if (row >= a.rows) continue;
          first[c] = load_as<float4>(x + row * a.x_stride, 0);
          if constexpr (Codec::has_min) second[c] = load_as<float4>(x + row * a.x_stride, 16);
        }
        if constexpr (Codec::halves) {
          // Lanes 0 and 1 of four have the first 16 columns: what the others have is left out, then taken alone.
          UNROLL
          for (int h = 0; h < 2; ++h) {
            const uint32_t keep = t / 2 == h ? 0xffffffffu : 0u;
            const uint32_t half[4] = {codes[0][0] & keep, codes[1][0] & keep, codes[0][1] & keep, codes[1][1] & keep};
            add<NT>(half, columns_of_x, h, scales, first, second, sums[0][n]);
          }
        } else {
          const uint32_t all[4] = {codes[0][0], codes[1][0], codes[0][1], codes[1][1]};
          add<NT>(all, columns_of_x, 2, scales, first, second, sums[0][n]);
        }
      }
    }
  }

  template <int NT>
  __device__ static void add(const uint32_t (&codes)[4], const uint32_t (&x)[2], int part,
                             const ScaleAndMin (&scales)[2][2], const float4 (&first)[2], const float4 (&second)[2],
                             float (&sums)[4]) {
    int dots[4] = {0, 0, 0, 0};
    multiply_s8(dots, codes, x);
    UNROLL
    for (int i = 0; i < 4; ++i) {
      const float4 &head = first[i % 2], &tail = second[i % 2];
      const ScaleAndMin& scale = scales[i / 2][part == 2 ? 0 : part];
      const float minus_sum = part == 0 ? head.y : part == 1 ? head.z : head.w;  // the bits of a whole number
      const int dot = Codec::offset == 0 ? dots[i] : dots[i] + Codec::offset * __float_as_int(minus_sum);
      sums[i] = fmaf(static_cast<float>(dot), scale.scale * head.x, sums[i]);
      if constexpr (Codec::has_min)
        sums[i] = fmaf(scale.min, part == 0 ? tail.x : part == 1 ? tail.y : tail.z, sums[i]);
    }
  }

  __device__ static float finish(const LinearArguments&, float sum, int, int) { return sum; }
};
static_assert(offsetof(A8Block, scale) == 0 && offsetof(A8Block, minus_sums) == 4);
static_assert(offsetof(A8Block, scaled_sums) == 16 && sizeof(A8Block) % 16 == 0);

template <class Codec>
bool run(const LinearArguments& a, cudaStream_t stream) {
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
