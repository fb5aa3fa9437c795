// Body of rms_norm_quantize, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/fused/rms_norm_quantize.h"

#include "ops/linear/quantize_block.h"
#include "ops/norm/sums.h"

namespace vivace::VIVACE_ISA {

// Members share the blocks of a row; each sums up the whole row by itself, which is cheaper than to wait.
void rms_norm_quantize(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1], &y = run.outputs[0];
  const int64_t width = x.columns, blocks = width / 32;
  const float* w = weight.row<const float>(0);
  const float epsilon = static_cast<float>(run.attributes[0]);
  int64_t begin, end;
  team.range(x.rows * blocks, 8, begin, end);
  F32 inverse = zero();
  for (int64_t i = begin; i < end; ++i) {
    const int64_t row = i / blocks, from = i % blocks * 32;
    const float* in = x.row<const float>(row);
    if (i == begin || from == 0) {
      const float squares = sum_over(width, [&](int64_t k, int n) {
        const F32 v = load_some(in + k, n);
        return v * v;
      });
      inverse = set1(1.0f) / sqrt(set1(squares / static_cast<float>(width) + epsilon));
    }
    alignas(64) float normed[32];
    for (int k = 0; k < 32; k += F32::lanes) store(normed + k, load(in + from + k) * inverse * load(w + from + k));
    quantize_block(normed, y.row<A8Block>(row)[i % blocks]);
  }
}

}  // namespace vivace::VIVACE_ISA
