// Products of small matrices by a warp: mma.sync (PTX ISA, "Matrix Fragments for mma.m16n8k16 / m16n8k32").
//
// d[16, 8] += a[16, k] · b[k, 8]. With group = lane / 4 and part = lane % 4 a lane holds, of 16-bit numbers (k = 16):
//   a[i]: row group + 8 · (i % 2), columns 2 · part + 8 · (i / 2) and the next one
//   b[i]: rows 2 · part + 8 · i and the next one, column group
// of 8-bit numbers (k = 32, or 16 with half of the words) four at a time:
//   a[i]: row group + 8 · (i % 2), columns 4 · part + 16 · (i / 2) …
//   b[i]: rows 4 · part + 16 · i …, column group
// and of both d[i]: row group + 8 · (i / 2), column 2 · part + i % 2.
#pragma once
#include "core/simd/half.h"
#include "cuda/core/copy.h"

namespace vivace::cuda {

#if defined(__CUDACC__)

__device__ inline void multiply_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Signed times signed.
__device__ inline void multiply_s8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// The same of 16 columns: half of the words.
__device__ inline void multiply_s8(int (&d)[4], const uint32_t (&a)[2], uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(b));
}
// Signed a times unsigned b.
__device__ inline void multiply_s8_u8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#else

namespace emulated {

struct Fragments {
  uint32_t a[4], b[2];
};

// `per_word` numbers in a word; number(word, i) reads one of them. Products are added in order of k.
template <int per_word, class Sum, class ReadA, class ReadB>
inline void multiply(Sum (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], ReadA&& read_a, ReadB&& read_b) {
  constexpr int half = 4 * per_word;  // columns of a's first two words, over all parts
  const Fragments mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const int lane = emulation::this_thread->lane(), group = lane / 4, part = lane % 4;
  Sum out[4];
  show(mine, [&](auto&& of) {
    for (int i = 0; i < 4; ++i) {
      const int row = group + 8 * (i / 2), column = 2 * part + i % 2;
      Sum sum = d[i];
      for (int k = 0; k < 2 * half; ++k) {
        const int holder = k % half / per_word, at = k % per_word;
        const uint32_t left = of(row % 8 * 4 + holder).a[row / 8 + 2 * (k / half)];
        const uint32_t right = of(column * 4 + holder).b[k / half];
        sum += read_a(left, at) * read_b(right, at);
      }
      out[i] = sum;
    }
  });
  for (int i = 0; i < 4; ++i) d[i] = out[i];
}

inline float half_of(uint32_t word, int i) {
  return f32_from_f16(static_cast<uint16_t>(word >> (16 * i)));
}
inline float bfloat_of(uint32_t word, int i) {
  return f32_from_bf16(static_cast<uint16_t>(word >> (16 * i)));
}
inline int signed_of(uint32_t word, int i) {
  return static_cast<int8_t>(word >> (8 * i));
}
inline int unsigned_of(uint32_t word, int i) {
  return static_cast<uint8_t>(word >> (8 * i));
}

}  // namespace emulated

inline void multiply_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulated::multiply<2>(d, a, b, emulated::half_of, emulated::half_of);
}
inline void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulated::multiply<2>(d, a, b, emulated::bfloat_of, emulated::bfloat_of);
}
inline void multiply_s8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulated::multiply<4>(d, a, b, emulated::signed_of, emulated::signed_of);
}
inline void multiply_s8(int (&d)[4], const uint32_t (&a)[2], uint32_t b) {
  const uint32_t whole_a[4] = {a[0], a[1], 0, 0}, whole_b[2] = {b, 0};
  emulated::multiply<4>(d, whole_a, whole_b, emulated::signed_of, emulated::signed_of);
}
inline void multiply_s8_u8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulated::multiply<4>(d, a, b, emulated::signed_of, emulated::unsigned_of);
}

#endif

}  // namespace vivace::cuda
