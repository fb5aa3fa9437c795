// Bans: the logits of tokens that a row's words do not allow become −infinity, as in Sampler::adjust().
#include <cmath>

#include "cuda/core/launch.h"
#include "cuda/decode/sample.h"

namespace vivace::cuda {
namespace {

constexpr int limit_threads = 256, limit_slice = 4096;  // logits per block

__global__ void limit_rows(float* logits, int64_t stride, const DrawRow* draws, const uint32_t* allowed) {
  const DrawRow& row = draws[blockIdx.y];
  if ((row.flags & draw_limited) == 0) return;
  float* x = logits + static_cast<int64_t>(blockIdx.y) * stride;
  const uint32_t* words = allowed + row.allowed_begin;
  const int begin = static_cast<int>(blockIdx.x) * limit_slice;
  for (int i = begin + static_cast<int>(threadIdx.x); i < begin + limit_slice && i < row.vocab; i += limit_threads)
    if ((words[i / 32] >> (i % 32) & 1) == 0) x[i] = -INFINITY;
}

}  // namespace

void limit_tokens(const SampleRun& run, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((run.vocab + limit_slice - 1) / limit_slice), static_cast<unsigned>(run.rows));
  launch<limit_rows>(Launch{grid, dim3(limit_threads), 0, stream}, run.logits, run.stride, run.draws,
                     run.lists.allowed);
}

}  // namespace vivace::cuda
