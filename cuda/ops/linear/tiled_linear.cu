// linear for many rows of x: F16 and BF16 weights with x rounded to their type, and W?A8 in whole numbers.
#include "cuda/ops/linear/tiled.h"
#include "cuda/ops/linear/tokens.h"

namespace vivace::cuda {
namespace {

// Numbers too large for F16 become its largest one; infinities stay.
__device__ inline float bounded(float value) {
  const float size = fabsf(value);
  return size > 65504.0f && size < __uint_as_float(0x7f800000u) ? copysignf(65504.0f, value) : value;
}

// Weights of 16 bits, x rounded to the same type; sums are float32.
template <bool brain>
struct Halves {
  using Sum = float;
  static constexpr int step = 32;
  static constexpr bool is_async = true;

  __device__ static void copy(const Shared<uint8_t>& to, size_t place, const ProductArguments& a, int n, int k,
                              bool there) {
    copy_async<16>(to, place, a.weight + n * a.stride + 2 * k, there);
  }
  __device__ static uint4 x(const ProductArguments& a, int row, int k) {
    const uint8_t* at = a.x + row * a.x_stride + int64_t{4} * k;
    const float4 low = load_as<float4>(at, 0), high = load_as<float4>(at, 16);
    const auto pack = [](float first, float second) {
      return brain ? pack_bf16(first, second) : pack_f16(bounded(first), bounded(second));
    };
    return make_uint4(pack(low.x, low.y), pack(low.z, low.w), pack(high.x, high.y), pack(high.z, high.w));
  }
  __device__ static void multiply(float (&sums)[4], const uint32_t (&left)[4], const uint32_t (&right)[2]) {
    if constexpr (brain)
      multiply_bf16(sums, left, right);
    else
      multiply_f16(sums, left, right);
  }
  __device__ static float finish(const ProductArguments&, float sum, int, int) { return sum; }
};

struct Tokens {
  using Sum = int;
  static constexpr int step = 64;
  __device__ static uint4 x(const ProductArguments& a, int row, int k) {
    return load_as<uint4>(a.x + row * a.x_stride + token_codes, static_cast<size_t>(k));
  }
  __device__ static void multiply(int (&sums)[4], const uint32_t (&left)[4], const uint32_t (&right)[2]) {
    multiply_s8(sums, left, right);
  }
  __device__ static float finish(const ProductArguments& a, int sum, int row, int n) {
    return finish_token(a, sum, row, n);
  }
};

struct TokensW8A8 : Tokens {
  static constexpr bool is_async = true;
  // Rows begin with eight bytes of scales, so 16 bytes of codes are aligned to eight.
  __device__ static void copy(const Shared<uint8_t>& to, size_t place, const ProductArguments& a, int n, int k,
                              bool there) {
    const uint8_t* from = a.weight + n * a.stride + 8 + k;
    copy_async<8>(to, place, from, there);
    copy_async<8>(to, place + 8, from + 8, there);
  }
};

// Eight nibbles in the order of columns.
__device__ inline uint2 ordered_bytes(const uint32_t (&split)[2]) {
  return make_uint2(__byte_perm(split[0], split[1], 0x5140), __byte_perm(split[0], split[1], 0x7362));
}

struct TokensW4A8 : Tokens {
  static constexpr bool is_async = false;
  __device__ static uint4 chunk(const ProductArguments& a, int n, int k) {
    const uint2 nibbles = load_as<uint2>(a.weight + n * a.stride + 8 + k / 2, 0);
    uint32_t split[2];
    nibble_bytes(nibbles.x, split);
    const uint2 low = ordered_bytes(split);
    nibble_bytes(nibbles.y, split);
    const uint2 high = ordered_bytes(split);
    return make_uint4(low.x, low.y, high.x, high.y);
  }
};

struct TokensW4A8_G128 : Tokens {
  static constexpr bool is_async = false;
  __device__ static uint4 chunk(const ProductArguments& a, int n, int k) {
    const uint8_t* block = a.weight + n * a.stride + 8 + k / 128 * 66;
    const uint32_t pair = load_as<unsigned short>(block, 0), scale = pair & 255, zeros = (pair >> 8) * 0x01010101u;
    const auto eight = [&](const uint8_t* at) {
      uint32_t split[2];
      nibble_bytes(word_at(at), split);
      for (uint32_t& word : split) word = add_bytes(word * scale, zeros);
      return ordered_bytes(split);
    };
    const uint8_t* at = block + 2 + k % 128 / 2;
    const uint2 low = eight(at), high = eight(at + 4);
    return make_uint4(low.x, low.y, high.x, high.y);
  }
};

template <class Kind>
bool run(const LinearArguments& a, int width, int tile, cudaStream_t stream) {
  if (a.columns % width != 0) return false;
  launch_tiled<Kind>(a, tile, stream);
  return true;
}

}  // namespace

bool tiled_linear(const LinearArguments& a, cudaStream_t stream, int tile) {
  switch (a.dtype) {
    case DType::F16:
      return run<Halves<false>>(a, 8, tile, stream);
    case DType::BF16:
      return run<Halves<true>>(a, 8, tile, stream);
    case DType::W8A8:
      return run<TokensW8A8>(a, 32, tile, stream);
    case DType::W4A8:
      return run<TokensW4A8>(a, 32, tile, stream);
    case DType::W4A8_G128:
      return run<TokensW4A8_G128>(a, 128, tile, stream);
    default:
      return false;
  }
}

}  // namespace vivace::cuda
