// linear for W?A16: x is F32. Codes less their zero point are whole numbers of at most eight bits, exact as bfloat16; a
// value of x is the exact sum of three. So three products on tensor cores give what float32 would, and the group's
// scale follows in float. Layouts: cpp/quant/row_scaled.h.
#include "cuda/ops/linear/staged.h"

namespace vivace::cuda {
namespace {

// Takes the upper 16 bits out of a value: what is left is exact.
__device__ inline float without_upper(float value) {
  return value - __uint_as_float(__float_as_uint(value) & 0xffff0000u);
}

// Columns 0 … 7 of a lane pair up as (0, 4), (1, 5), (2, 6), (3, 7), as nibbles of a word do.
struct SplitX {
  uint32_t parts[3][4];  // high, middle and low bits of four pairs

  __device__ explicit SplitX(const uint8_t* x) {
    const float4 a = load_as<float4>(x, 0), b = load_as<float4>(x, 16);
    float low[4] = {a.x, a.y, a.z, a.w}, high[4] = {b.x, b.y, b.z, b.w};
    UNROLL
    for (auto& part : parts) UNROLL
    for (int i = 0; i < 4; ++i) {
      part[i] = upper_halves(low[i], high[i]);
      low[i] = without_upper(low[i]);
      high[i] = without_upper(high[i]);
    }
  }
  __device__ SplitX() : parts{} {}
};

template <int bits, int group>
struct Scaled {
  using Sum = float;
  static constexpr int columns = bits == 4 ? 256 : 128;
  static constexpr int group_bytes = 4 + group * bits / 8;
  static constexpr int bytes = group == 0 ? columns * bits / 8 : columns / (group == 0 ? 1 : group) * group_bytes;
  static constexpr int header = group == 0 ? 4 : 0, row_tiles = 2;

  // The eight codes of a lane in group j of 32 columns, less the zero point: four pairs of bfloat16.
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t word, uint32_t (&out)[4]) {
    int at = 4 * bits * j + bits * t;
    if constexpr (group != 0) at = 32 * j / group * group_bytes + 4 + (32 * j % group + 8 * t) * bits / 8;
    if constexpr (bits == 4) {
      const uint32_t nibbles = row.aligned_word(at), shift = (0x4300u | (word & 15)) * 0x00010001u;  // 128 + zero
      UNROLL
      for (int i = 0; i < 4; ++i) out[i] = subtract_bf16((nibbles >> (4 * i) & 0x000f000fu) | 0x43004300u, shift);
    } else {
      const uint32_t low = row.aligned_word(at) ^ 0x80808080u, high = row.aligned_word(at + 4) ^ 0x80808080u;
      const float shift = 8388608.0f + 128.0f + static_cast<float>(static_cast<int8_t>(word));
      UNROLL
      for (int i = 0; i < 4; ++i) {
        const auto value = [&](uint32_t four) {
          return __uint_as_float((four >> (8 * i) & 255) | 0x4b000000u) - shift;  // 2^23 + byte
        };
        out[i] = upper_halves(value(low), value(high));
      }
    }
  }

  template <int NT, class RowOf>
  __device__ static void multiply(const LinearArguments& a, RowOf row_of, int first, int batch, int step, int groups,
                                  float (&sums)[2][NT][4]) {
    const int g = static_cast<int>(threadIdx.x % 32 / 4), t = static_cast<int>(threadIdx.x % 4);
    for (int j = 0; j < groups; ++j) {
      uint32_t weights[2][2][4];
      float scales[2][2];
      UNROLL
      for (int m = 0; m < 2; ++m) UNROLL
      for (int h = 0; h < 2; ++h) {
        const int own = 16 * m + 8 * h + g;
        const StagedRow row = row_of(own);
        uint32_t word;
        if constexpr (group == 0)
          word = load_as<uint32_t>(a.weight + min(first + own, a.out - 1) * a.stride, 0);
        else
          word = row.aligned_word(32 * j / group * group_bytes);
        scales[m][h] = __uint_as_float(word & 0xffffff00u);
        codes(row, j, t, word, weights[m][h]);
      }
      UNROLL
      for (int n = 0; n < NT; ++n) {
        SplitX x;
        const int row = batch + 8 * n + g;
        if (row < a.rows) x = SplitX(a.x + row * a.x_stride + (step * columns + 32 * j + 8 * t) * 4);
        UNROLL
        for (int m = 0; m < 2; ++m) {
          float part[4] = {0, 0, 0, 0};
          UNROLL
          for (int p = 2; p >= 0; --p) UNROLL
          for (int i = 0; i < 4; i += 2) {
            const uint32_t w[4] = {weights[m][0][i], weights[m][1][i], weights[m][0][i + 1], weights[m][1][i + 1]};
            const uint32_t b[2] = {x.parts[p][i], x.parts[p][i + 1]};
            multiply_bf16(part, w, b);
          }
          UNROLL
          for (int i = 0; i < 4; ++i) sums[m][n][i] = fmaf(scales[m][i / 2], part[i], sums[m][n][i]);
        }
      }
    }
  }

  __device__ static float finish(const LinearArguments&, float sum, int, int) { return sum; }
};

template <int bits, int group>
bool run(const LinearArguments& a, cudaStream_t stream) {
  launch_staged<Scaled<bits, group>>(a, stream);
  return true;
}

}  // namespace

bool scaled_linear(const LinearArguments& a, cudaStream_t stream) {
  if (a.columns % 32 != 0) return false;
  switch (a.dtype) {
    case DType::W8A16:
      return run<8, 0>(a, stream);
    case DType::W8A16_G32:
      return run<8, 32>(a, stream);
    case DType::W8A16_G64:
      return run<8, 64>(a, stream);
    case DType::W8A16_G128:
      return run<8, 128>(a, stream);
    case DType::W4A16:
      return run<4, 0>(a, stream);
    case DType::W4A16_G32:
      return run<4, 32>(a, stream);
    case DType::W4A16_G64:
      return run<4, 64>(a, stream);
    case DType::W4A16_G128:
      return run<4, 128>(a, stream);
    default:
      return false;
  }
}

}  // namespace vivace::cuda
