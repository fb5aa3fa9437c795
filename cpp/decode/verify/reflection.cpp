#include "decode/verify/reflection.h"

#include <algorithm>

#include "decode/sample_kernel.h"

namespace vivace {

bool is_read_twice(const Walk& walk, int32_t row) {
  const std::vector<int32_t>& rows = walk.reflection.rows;
  return walk.reflection.alpha > 0 && std::find(rows.begin(), rows.end(), row) != rows.end();
}

bool fuse(const Walk& walk, int32_t row, const float* logits, int64_t vocab, std::vector<float>& out) {
  const Reflection& reflection = walk.reflection;
  const auto size = static_cast<size_t>(vocab);
  out.assign(size, 0.0f);
  int readings = 0;
  for (size_t i = 0; i < reflection.rows.size(); ++i) {
    if (reflection.rows[i] != row) continue;
    const float* second = logits + (walk.rows() + static_cast<int64_t>(i)) * vocab;
    for (size_t k = 0; k < size; ++k) out[k] += second[k];
    ++readings;
  }
  const float* first = logits + row * vocab;
  const auto count = static_cast<float>(readings);
  if (readings > 1)
    for (size_t k = 0; k < size; ++k) out[k] /= count;
  if (reflection.alpha < 1) {
    const auto alpha = static_cast<float>(reflection.alpha);
    const auto rest = static_cast<float>(1 - reflection.alpha);
    for (size_t k = 0; k < size; ++k) out[k] = rest * first[k] + alpha * out[k];
  }
  const int64_t drawn = std::min(vocab, walk.sampler->vocab());
  std::vector<float> maxima(static_cast<size_t>((drawn + sample_block - 1) / sample_block));
  const int64_t before = sample_kernel().peak(first, drawn, maxima.data()).index;
  return sample_kernel().peak(out.data(), drawn, maxima.data()).index != before;
}

}  // namespace vivace
