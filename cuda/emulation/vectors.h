// Small vectors and sizes of CUDA's language.
#pragma once
#include <cstddef>
#include <cstdint>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define VIVACE_VECTORS(T, name)                                                      \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                 \
  struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) name##4 { T x, y, z, w; }; \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                         \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
VIVACE_VECTORS(float, float)
VIVACE_VECTORS(int, int)
VIVACE_VECTORS(unsigned, uint)
VIVACE_VECTORS(signed char, char)
VIVACE_VECTORS(unsigned char, uchar)
VIVACE_VECTORS(short, short)
VIVACE_VECTORS(unsigned short, ushort)
#undef VIVACE_VECTORS
