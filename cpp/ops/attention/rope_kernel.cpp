// Body of rope, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/attention/rope.h"

#include <cstring>

#include "core/simd.h"

namespace vivace::VIVACE_ISA {
namespace {

// Both layouts round in the same places: product, then product and difference or sum, without fma.
void rotate_halves(const float* in, const float* cosines, const float* sines, int64_t half, float* out) {
  for_lanes(half, [&](int64_t i, int n) {
    const F32 a = load_some(in + i, n), b = load_some(in + half + i, n);
    const F32 c = load_some(cosines + i, n), s = load_some(sines + i, n);
    store_some(out + i, a * c - b * s, n);
    store_some(out + half + i, b * c + a * s, n);
  });
}

// `upper` holds the second half until the input, which may be the output, has been read. Some pairs at a time lie apart
// from both, so that compilers turn the loop into vectors.
void rotate_adjacent(const float* in, const float* cosines, const float* sines, int64_t half, float* out,
                     float* upper) {
  constexpr int some = 16;
  int64_t i = 0;
  for (; i + some <= half; i += some) {
    float pairs[2 * some], first[some], second[some];
    std::memcpy(pairs, in + 2 * i, sizeof(pairs));
    for (int k = 0; k < some; ++k) {
      const float a = pairs[2 * k], b = pairs[2 * k + 1], c = cosines[i + k], s = sines[i + k];
      first[k] = a * c - b * s;
      second[k] = b * c + a * s;
    }
    std::memcpy(out + i, first, sizeof(first));
    std::memcpy(upper + i, second, sizeof(second));
  }
  for (; i < half; ++i) {
    const float a = in[2 * i], b = in[2 * i + 1];
    out[i] = a * cosines[i] - b * sines[i];
    upper[i] = b * cosines[i] + a * sines[i];
  }
  std::memcpy(out + half, upper, sizeof(float) * static_cast<size_t>(half));
}

}  // namespace

void rope(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &table = run.inputs[1], &y = run.outputs[0];
  const int64_t heads = static_cast<int64_t>(run.attributes[0]), width = x.columns / heads, half = table.columns / 2;
  const bool adjacent = run.attributes[1] == 0;
  float* upper = reinterpret_cast<float*>(run.scratch) + half * team.thread();
  int64_t begin, end;
  team.range(x.rows * heads, 1, begin, end);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = item / heads, from = item % heads * width;
    const float* in = x.row<const float>(row) + from;
    const float* cosines = table.row<const float>(row);
    float* out = y.row<float>(row) + from;
    if (adjacent)
      rotate_adjacent(in, cosines, cosines + half, half, out, upper);
    else
      rotate_halves(in, cosines, cosines + half, half, out);
    if (in != out && width > 2 * half)
      std::memcpy(out + 2 * half, in + 2 * half, sizeof(float) * static_cast<size_t>(width - 2 * half));
  }
}

}  // namespace vivace::VIVACE_ISA
