// rope_table: see cpp/ops/attention/rope_table.h.
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

__global__ void fill_rope_table(const int32_t* positions, const float* frequencies, float* table, int64_t pairs,
                                int64_t half, double magnitude) {
  for_each_value(pairs, [&](int64_t i) {
    const int64_t row = i / half, j = i % half;
    double sine, cosine;
    sincos(static_cast<double>(positions[row]) * static_cast<double>(frequencies[j]), &sine, &cosine);
    table[row * 2 * half + j] = static_cast<float>(magnitude * cosine);
    table[row * 2 * half + half + j] = static_cast<float>(magnitude * sine);
  });
}

}  // namespace

void rope_table(const DeviceRun& run) {
  const Tensor &positions = run.inputs[0], &frequencies = run.inputs[1], &table = run.outputs[0];
  const int64_t pairs = table.rows * frequencies.columns;
  launch<fill_rope_table>(elementwise(pairs, run), values_of<const int32_t>(positions),
                          values_of<const float>(frequencies), values_of<float>(table), pairs, frequencies.columns,
                          run.attributes[0]);
}

}  // namespace vivace::cuda
