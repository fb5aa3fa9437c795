// Body of embedding, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/rows/embedding.h"

#include "core/simd.h"
#include "quant/registry.h"

namespace vivace::VIVACE_ISA {

void embedding(const OpRun& run, Team& team) {
  const Tensor &weight = run.inputs[0], &tokens = run.inputs[1], &y = run.outputs[0];
  const QuantType* type = find_quant(weight.dtype);
  const F32 scale = set1(static_cast<float>(run.attributes[0]));
  int64_t begin, end;
  team.range(y.rows, 1, begin, end);
  for (int64_t row = begin; row < end; ++row) {
    const int32_t token = *tokens.row<const int32_t>(row);
    float* out = y.row<float>(row);
    if (token < 0 || token >= weight.rows) {
      std::memset(out, 0, static_cast<size_t>(y.columns) * sizeof(float));
      continue;
    }
    type->dequantize_row(weight.row<const std::byte>(token), out, y.columns);
    for_lanes(y.columns, [&](int64_t i, int n) { store_some(out + i, load_some(out + i, n) * scale, n); });
  }
}

}  // namespace vivace::VIVACE_ISA
