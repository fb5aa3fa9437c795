// Rows of a draft that were read twice: their logits are mixed (fuse() of cpp/decode/verify/reflection.cpp, with its
// bits), and the mixture stands in the place of the first second reading.
#include "cuda/core/launch.h"
#include "cuda/decode/sample.h"

namespace vivace::cuda {
namespace {

constexpr int mix_threads = 256;

__global__ void mix_rows(float* logits, int64_t stride, int vocab, MixLists mixes) {
  const MixRow row = mixes.rows[blockIdx.y];
  const int32_t* readings = mixes.readings + row.begin;
  const int i = static_cast<int>(blockIdx.x) * mix_threads + static_cast<int>(threadIdx.x);
  if (i >= vocab) return;
  float sum = 0;
  for (int k = 0; k < row.count; ++k) sum = __fadd_rn(sum, logits[readings[k] * stride + i]);
  if (row.count > 1) sum = sum / static_cast<float>(row.count);
  // A reading of weight 0 is not looked at, so that its infinities do not matter.
  if (row.rest > 0) sum = __fadd_rn(__fmul_rn(row.rest, logits[row.first * stride + i]), __fmul_rn(row.alpha, sum));
  logits[readings[0] * stride + i] = sum;
}

// While choices are still the peaks of logits as they are.
__global__ void note_favourites(const GreedyChoice* choices, MixLists mixes) {
  const int i = static_cast<int>(blockIdx.x) * mix_threads + static_cast<int>(threadIdx.x);
  if (i >= mixes.count) return;
  const MixRow row = mixes.rows[i];
  mixes.changed[i] = choices[row.first].token != choices[mixes.readings[row.begin]].token ? 1 : 0;
}

unsigned blocks_of(int count) {
  return static_cast<unsigned>((count + mix_threads - 1) / mix_threads);
}

}  // namespace

void mix_readings(const SampleRun& run, cudaStream_t stream) {
  const dim3 grid(blocks_of(run.vocab), static_cast<unsigned>(run.mixes.count));
  launch<mix_rows>(Launch{grid, dim3(mix_threads), 0, stream}, run.logits, run.stride, run.vocab, run.mixes);
}

void note_changes(const SampleRun& run, cudaStream_t stream) {
  launch<note_favourites>(Launch{dim3(blocks_of(run.mixes.count)), dim3(mix_threads), 0, stream},
                          static_cast<const GreedyChoice*>(run.choices), run.mixes);
}

}  // namespace vivace::cuda
