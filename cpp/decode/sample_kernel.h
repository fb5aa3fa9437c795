// The passes of the sampler that touch every token of the vocabulary, one body per instruction-set level. Sums and
// maxima go through blocks of 64 values in a fixed order, so all levels give the same bits.
#pragma once
#include <cstdint>

namespace vivace {

inline constexpr int64_t sample_block = 64;

struct Peak {
  float value = 0;
  int64_t index = -1;  // the lowest index of that value; -1 when no value is greater than -inf
  bool nan = false;
};

struct SampleKernel {
  // The largest of values[0, count); maxima[count / 64, rounded up] receives the largest of each block.
  Peak (*peak)(const float* values, int64_t count, float* maxima);
  // weights[i] = exp((values[i] - peak) · scale), 0 below e^-87; sums[count / 64, rounded up] their sums per block.
  // Either may be null. Returns the sum of all.
  double (*weigh)(const float* values, int64_t count, float peak, float scale, float* weights, double* sums);
  // A value that at least `wanted` of values[0, count) reach, and hardly more; -inf when there are not so many. No NaN.
  float (*bound)(const float* values, int64_t count, int64_t wanted);
  // The indices, ascending, of all values[0, count) >= least, by the maxima of their blocks; returns how many.
  int64_t (*reach)(const float* values, int64_t count, const float* maxima, float least, int32_t* indices);
};

// The best one for this processor.
const SampleKernel& sample_kernel();

namespace baseline {
extern const SampleKernel sample_kernel;
}
namespace avx2 {
extern const SampleKernel sample_kernel;
}
namespace avx512 {
extern const SampleKernel sample_kernel;
}
namespace neon {
extern const SampleKernel sample_kernel;
}
namespace i8mm {
extern const SampleKernel sample_kernel;
}

}  // namespace vivace
