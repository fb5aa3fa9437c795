// Products with experts for every type and shape, weights as they are stored, one thread per value: for shapes that the
// faster kernels do not take.
#include "cuda/ops/elementwise.h"
#include "cuda/ops/experts/arguments.h"
#include "cuda/quant/dequantise.h"

namespace vivace::cuda {
namespace {

// Sums of 32 columns are added to the row's sum, as plain_linear does.
template <bool blocks_of_x>
__device__ inline float plain_sum(const ExpertProducts& a, const uint8_t* row, const uint8_t* x) {
  float sum = 0;
  for (int from = 0; from < a.columns; from += 32) {
    const int end = min(from + 32, a.columns);
    const auto* block = reinterpret_cast<const A8Block*>(x) + from / 32;
    float part = 0;
    for (int k = from; k < end; ++k) {
      const float value = blocks_of_x ? static_cast<float>(block->codes[k - from]) : load_float(x + 4 * k);
      part = fmaf(weight_value(a.dtype, row, k), value, part);
    }
    sum = blocks_of_x ? fmaf(part, block->scale, sum) : sum + part;
  }
  return sum;
}

template <bool blocks_of_x>
__global__ void multiply_plain_experts(ExpertProducts a, int64_t count) {
  for_each_value(count, [&](int64_t i) {
    const int pair = static_cast<int>(i / a.out), n = static_cast<int>(i % a.out);
    const int expert = a.tiles.expert_of(pair);
    if (expert == a.tiles.experts) {
      a.y[i] = 0;
      return;
    }
    const int64_t at = expert * a.expert_bytes + n * a.stride;
    const uint8_t* x = a.x + pair / a.x_pairs * a.x_stride;
    const float sum = plain_sum<blocks_of_x>(a, a.weight + at, x);
    a.y[i] = a.up == nullptr ? sum : a.gated(sum, plain_sum<blocks_of_x>(a, a.up + at, x));
  });
}

}  // namespace

void run_plain_experts(const ExpertProducts& a, bool blocks_of_x, cudaStream_t stream) {
  const int64_t count = int64_t{a.tiles.pairs} * a.out;
  const Launch how{dim3(static_cast<unsigned>((count + 127) / 128)), dim3(128), 0, stream};
  if (blocks_of_x)
    launch<multiply_plain_experts<true>>(how, a, count);
  else
    launch<multiply_plain_experts<false>>(how, a, count);
}

}  // namespace vivace::cuda
