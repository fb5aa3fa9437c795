// Children of a draft's row, drawn one after the other from what is left of the row's law (GrowingTree::draw in
// cpp/decode/tree/growing_tree.cpp). A token that is drawn has no weight until all of them are.
#include <cmath>

#include "cuda/core/launch.h"
#include "cuda/core/random.h"
#include "cuda/decode/kept.h"
#include "cuda/decode/sample.h"

namespace vivace::cuda {
namespace {

__global__ void draw_children(SampleRun run) {
  const DrawRow& row = run.draws[blockIdx.x];
  if (row.children == 0) return;
  TopToken* const children = run.tops + row.top_begin;
  const CardLaw law = row.law;
  const int count = run.choices[blockIdx.x].error == 0 ? law.head->count : 0;
  const double all = law.head->total;
  const bool dense = law.head->dense != 0;
  const int thread = static_cast<int>(threadIdx.x);
  int drawn = 0;
  for (; drawn < row.children && drawn < count; ++drawn) {
    double left = 0;
    const double uniform = philox_uniform(row.seed, row.index, row.lane + static_cast<uint64_t>(drawn));
    const Found found = find_in_list(
        count, uniform, [&](int i) { return law.weights[i]; }, left);
    if (!(left > 0)) break;
    const float weight = law.weights[found.place];
    __syncthreads();  // everybody has read what is taken away now
    if (thread == 0) {
      children[drawn] = {found.place, weight};
      law.weights[found.place] = 0;
    }
    __syncthreads();
  }
  if (thread != 0) return;
  for (int i = 0; i < row.children; ++i) {
    if (i >= drawn) {
      children[i] = {-1, 0};
      continue;
    }
    const TopToken one = children[i];
    law.weights[one.token] = one.logprob;
    const auto logprob = static_cast<float>(log(static_cast<double>(one.logprob) / all));
    children[i] = {dense ? one.token : law.ids[one.token], logprob};
  }
}

}  // namespace

void draw_row_children(const SampleRun& run, cudaStream_t stream) {
  launch<draw_children>(Launch{dim3(static_cast<unsigned>(run.rows)), dim3(kept_threads), 0, stream}, run);
}

}  // namespace vivace::cuda
