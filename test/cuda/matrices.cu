// Matrix products of warps, ldmatrix and asynchronous copies against their definitions, emulated or on a card.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/core/launch.h"
#include "cuda/core/mma.h"
#include "test/cuda/report.h"

namespace vivace::cuda {
namespace {

// A warp multiplies a[16, k] · b[k, 8] out of shared memory; matrices of 16-bit numbers come by ldmatrix.
template <bool bfloat>
__global__ void multiply_halves(const uint16_t* a, const uint16_t* b, float* d) {
  SHARED(uint16_t, left, 16 * 16);
  SHARED(uint16_t, right, 16 * 8);  // [k, 8]
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 32; i += 32) copy_async<16>(left, static_cast<size_t>(i) * 8, a + i * 8);
  if (lane < 16) copy_async<16>(right, static_cast<size_t>(lane) * 8, b + lane * 8);
  commit_copies();
  wait_copies<0>();
  __syncthreads();
  uint32_t words[4], others[2];
  load_matrices(words, left, static_cast<size_t>(lane % 16 * 16 + lane / 16 * 8));
  load_transposed(others, right, static_cast<size_t>(lane % 16 * 8));
  const int row = lane / 4, column = 2 * (lane % 4);
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = d[(row + 8 * (i / 2)) * 8 + column + i % 2];
  if constexpr (bfloat)
    multiply_bf16(sums, words, others);
  else
    multiply_f16(sums, words, others);
  for (int i = 0; i < 4; ++i) d[(row + 8 * (i / 2)) * 8 + column + i % 2] = sums[i];
}

enum class Bytes { both_signed, other_unsigned, in_halves };

template <Bytes how>
__global__ void multiply_bytes(const uint8_t* a, const uint8_t* b, int* d) {
  const int lane = static_cast<int>(threadIdx.x), group = lane / 4, part = lane % 4;
  uint32_t words[4], others[2];
  for (int i = 0; i < 4; ++i)
    words[i] = *reinterpret_cast<const uint32_t*>(a + (group + 8 * (i % 2)) * 32 + 4 * part + 16 * (i / 2));
  for (int i = 0; i < 2; ++i) {
    others[i] = 0;
    for (int k = 0; k < 4; ++k) others[i] |= static_cast<uint32_t>(b[(4 * part + 16 * i + k) * 8 + group]) << (8 * k);
  }
  int sums[4] = {1, 2, 3, 4};
  if constexpr (how == Bytes::other_unsigned) {
    multiply_s8_u8(sums, words, others);
  } else if constexpr (how == Bytes::both_signed) {
    multiply_s8(sums, words, others);
  } else {
    for (int i = 0; i < 2; ++i) {
      const uint32_t half[2] = {words[2 * i], words[2 * i + 1]};
      multiply_s8(sums, half, others[i]);
    }
  }
  for (int i = 0; i < 4; ++i) d[(group + 8 * (i / 2)) * 8 + 2 * part + i % 2] = sums[i];
}

uint32_t random_bits() {
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}

template <bool bfloat>
void halves(const char* name) {
  std::vector<uint16_t> a(16 * 16), b(16 * 8);
  std::vector<float> left(a.size()), right(b.size()), d(16 * 8);
  const auto draw = [](std::vector<uint16_t>& bits, std::vector<float>& values) {
    for (size_t i = 0; i < bits.size(); ++i) {
      // Whole numbers up to 16: sums are exact in any order.
      values[i] = static_cast<float>(static_cast<int>(random_bits() % 33) - 16);
      bits[i] =
          bfloat ? __bfloat16_as_ushort(__float2bfloat16_rn(values[i])) : __half_as_ushort(__float2half_rn(values[i]));
    }
  };
  draw(a, left);
  draw(b, right);
  for (float& value : d) value = static_cast<float>(random_bits() % 100);
  DeviceArray<uint16_t> on_a(a), on_b(b);
  DeviceArray<float> on_d(d);
  launch<multiply_halves<bfloat>>(Launch{dim3(1), dim3(32)}, static_cast<const uint16_t*>(on_a.get()),
                                  static_cast<const uint16_t*>(on_b.get()), on_d.get());
  const std::vector<float> out = on_d.values();
  bool good = true;
  for (size_t r = 0; r < 16; ++r)
    for (size_t c = 0; c < 8; ++c) {
      float wanted = d[r * 8 + c];
      for (size_t k = 0; k < 16; ++k) wanted += left[r * 16 + k] * right[k * 8 + c];
      good = good && out[r * 8 + c] == wanted;
    }
  report(name, good);
}

template <Bytes how>
void bytes(const char* name) {
  std::vector<uint8_t> a(16 * 32), b(32 * 8);
  for (uint8_t& value : a) value = static_cast<uint8_t>(random_bits());
  for (uint8_t& value : b) value = static_cast<uint8_t>(random_bits());
  DeviceArray<uint8_t> on_a(a), on_b(b);
  DeviceArray<int> on_d(16 * 8);
  launch<multiply_bytes<how>>(Launch{dim3(1), dim3(32)}, static_cast<const uint8_t*>(on_a.get()),
                              static_cast<const uint8_t*>(on_b.get()), on_d.get());
  const std::vector<int> out = on_d.values();
  bool good = true;
  for (size_t r = 0; r < 16; ++r)
    for (size_t c = 0; c < 8; ++c) {
      int wanted = static_cast<int>(r / 8 * 2 + c % 2) + 1;
      for (size_t k = 0; k < 32; ++k) {
        const int right = how == Bytes::other_unsigned ? b[k * 8 + c] : static_cast<int8_t>(b[k * 8 + c]);
        wanted += static_cast<int8_t>(a[r * 32 + k]) * right;
      }
      good = good && out[r * 8 + c] == wanted;
    }
  report(name, good);
}

// Three stages, two copies ahead, the last one beyond the end; every fourth vector is replaced by zeros.
__global__ void stream_through(const int4* in, int4* out, int count) {
  SHARED(int4, stages, 3 * 32);
  const int lane = static_cast<int>(threadIdx.x);
  const auto fetch = [&](int i) {
    if (i < count) copy_async<16>(stages, static_cast<size_t>(i % 3 * 32 + lane), in + i * 32 + lane, lane % 4 != 3);
    commit_copies();
  };
  fetch(0);
  fetch(1);
  for (int i = 0; i < count; ++i) {
    fetch(i + 2);
    wait_copies<2>();
    __syncthreads();
    out[i * 32 + lane] = load_as<int4>(stages, static_cast<size_t>(i % 3 * 32 + 31 - lane));
    __syncthreads();
  }
}

void copies() {
  constexpr size_t count = 7;
  std::vector<int4> in(count * 32);
  for (size_t i = 0; i < in.size(); ++i) in[i] = make_int4(static_cast<int>(i), 1, 2, static_cast<int>(3 * i));
  DeviceArray<int4> from(in), to(in.size());
  launch<stream_through>(Launch{dim3(1), dim3(32)}, static_cast<const int4*>(from.get()), to.get(),
                         static_cast<int>(count));
  const std::vector<int4> out = to.values();
  bool good = true;
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t source = i / 32 * 32 + 31 - i % 32;
    const bool zero = source % 4 == 3;
    good = good && out[i].x == (zero ? 0 : static_cast<int>(source)) &&
           out[i].w == (zero ? 0 : static_cast<int>(3 * source));
  }
  report("asynchronous copies through three stages, with zeros in place of some", good);
}

__global__ void turn_matrix(const uint16_t* in, uint16_t* out) {
  const int lane = static_cast<int>(threadIdx.x), at = lane / 4 * 8 + 2 * (lane % 4);
  const uint32_t pair = transposed_matrix(in[at] | static_cast<uint32_t>(in[at + 1]) << 16);
  out[at] = static_cast<uint16_t>(pair);
  out[at + 1] = static_cast<uint16_t>(pair >> 16);
}

void turned() {
  std::vector<uint16_t> in(64);
  for (uint16_t& value : in) value = static_cast<uint16_t>(random_bits());
  DeviceArray<uint16_t> from(in), to(64);
  launch<turn_matrix>(Launch{dim3(1), dim3(32)}, static_cast<const uint16_t*>(from.get()), to.get());
  const std::vector<uint16_t> out = to.values();
  bool good = true;
  for (size_t i = 0; i < 64; ++i) good = good && out[i] == in[i % 8 * 8 + i / 8];
  report("a matrix of 16-bit numbers that is turned", good);
}

}  // namespace
}  // namespace vivace::cuda

int main() {
  using namespace vivace::cuda;
  return run_checks([] {
    halves<false>("products of matrices of halves, by ldmatrix");
    halves<true>("products of matrices of bfloat16");
    bytes<Bytes::both_signed>("products of matrices of signed bytes");
    bytes<Bytes::other_unsigned>("products of matrices of signed and unsigned bytes");
    bytes<Bytes::in_halves>("products of matrices of signed bytes, 16 columns at a time");
    copies();
    turned();
  });
}
