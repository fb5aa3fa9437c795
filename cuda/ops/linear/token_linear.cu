// linear for W8A8, W4A8 and W4A8_G128: x is A8_TOKEN. Products are summed over the whole row in whole numbers on tensor
// cores, exactly; one multiplication with the scales of both rows follows. Layouts: cpp/quant/row_scaled.h.
#include "cuda/ops/linear/staged.h"
#include "cuda/ops/linear/tokens.h"

namespace vivace::cuda {
namespace {

struct CodesW8A8 {
  static constexpr int bytes = 256;
  static constexpr bool split = false;  // whether codes come in the order of nibble_bytes
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    out[0] = row.aligned_word(32 * j + 8 * t);
    out[1] = row.aligned_word(32 * j + 8 * t + 4);
  }
};
struct CodesW4A8 {
  static constexpr int bytes = 128;
  static constexpr bool split = true;
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    nibble_bytes(row.aligned_word(16 * j + 4 * t), out);
  }
};
// code = scale · nibble + zero modulo 256; 15 · 17 fits a byte, so one multiplication serves four.
struct CodesW4A8_G128 {
  static constexpr int bytes = 132;
  static constexpr bool split = true;
  __device__ static void codes(const StagedRow& row, int j, int t, uint32_t (&out)[2]) {
    const int at = j / 4 * 66;
    const uint32_t pair = row.half_word(at), scale = pair & 255, zeros = (pair >> 8) * 0x01010101u;
    nibble_bytes(row.word(at + 2 + 16 * (j % 4) + 4 * t), out);
    out[0] = add_bytes(out[0] * scale, zeros);
    out[1] = add_bytes(out[1] * scale, zeros);
  }
};

template <class Codes>
struct Tokens {
  using Sum = int;
  static constexpr int columns = 256, bytes = Codes::bytes, header = 8, row_tiles = 1;

  template <int NT, class RowOf>
  __device__ static void multiply(const LinearArguments& a, RowOf row_of, int, int batch, int step, int groups,
                                  int (&sums)[1][NT][4]) {
    const int g = static_cast<int>(threadIdx.x % 32 / 4), t = static_cast<int>(threadIdx.x % 4);
    const StagedRow rows[2] = {row_of(g), row_of(g + 8)};
    for (int j = 0; j < groups; ++j) {
      uint32_t codes[2][2];
      Codes::codes(rows[0], j, t, codes[0]);
      Codes::codes(rows[1], j, t, codes[1]);
      const uint32_t weights[4] = {codes[0][0], codes[1][0], codes[0][1], codes[1][1]};
      UNROLL
      for (int n = 0; n < NT; ++n) {
        const int row = batch + 8 * n + g;
        uint2 x = make_uint2(0, 0);
        if (row < a.rows)
          x = load_as<uint2>(a.x + row * a.x_stride + token_codes,
                             static_cast<size_t>(step * columns + 32 * j + 8 * t));
        uint32_t b[2] = {x.x, x.y};
        if constexpr (Codes::split) {
          b[0] = __byte_perm(x.x, x.y, 0x6420);
          b[1] = __byte_perm(x.x, x.y, 0x7531);
        }
        multiply_s8(sums[0][n], weights, b);
      }
    }
  }

  __device__ static float finish(const LinearArguments& a, int sum, int row, int n) {
    return finish_token(a, sum, row, n);
  }
};

}  // namespace

bool token_linear(const LinearArguments& a, cudaStream_t stream) {
  if (a.columns % 32 != 0) return false;
  switch (a.dtype) {
    case DType::W8A8:
      launch_staged<Tokens<CodesW8A8>>(a, stream);
      return true;
    case DType::W4A8:
      launch_staged<Tokens<CodesW4A8>>(a, stream);
      return true;
    case DType::W4A8_G128:
      launch_staged<Tokens<CodesW4A8_G128>>(a, stream);
      return true;
    default:
      return false;
  }
}

}  // namespace vivace::cuda
