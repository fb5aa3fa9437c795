// The end of a sum over a block of 64: 16 values by halving to 4, and these crosswise. Only for files that are compiled
// per level. Where compilers know vectors it is spelled out: of loops they make 15 single additions, which take as long
// as 64 exponentials.
#pragma once
#include <cstring>

namespace vivace::VIVACE_ISA {

#if defined(__GNUC__)
template <class T>
struct Four;
template <>
struct Four<float> {
  typedef float type __attribute__((vector_size(16)));
};
template <>
struct Four<double> {
  typedef double type __attribute__((vector_size(32)));
};
#endif

template <class T>
inline T sum_end(const T* x) {
#if defined(__GNUC__)
  typename Four<T>::type a, b, c, d;
  std::memcpy(&a, x, sizeof a);
  std::memcpy(&b, x + 4, sizeof b);
  std::memcpy(&c, x + 8, sizeof c);
  std::memcpy(&d, x + 12, sizeof d);
  a = (a + c) + (b + d);
#else
  T a[8];
  for (int i = 0; i < 8; ++i) a[i] = x[i] + x[i + 8];
  for (int i = 0; i < 4; ++i) a[i] += a[i + 4];
#endif
  return (a[0] + a[2]) + (a[1] + a[3]);
}

}  // namespace vivace::VIVACE_ISA
