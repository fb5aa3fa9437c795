// What a row's token was drawn from, kept where its DrawRow says: tokens without a weight are left out, in the order of
// ids.
#include <cmath>

#include "cuda/core/launch.h"
#include "cuda/core/reduce.h"
#include "cuda/decode/kept.h"
#include "cuda/decode/sample.h"
#include "cuda/decode/weights.h"

namespace vivace::cuda {
namespace {

__global__ void keep_laws(SampleRun run, int blocks) {
  const int index = static_cast<int>(blockIdx.x);
  const DrawRow& row = run.draws[index];
  const GreedyChoice choice = run.choices[index];
  if (row.law.head == nullptr) return;
  const CardLaw law = row.law;
  const int thread = static_cast<int>(threadIdx.x);
  LawHead head = {0, 0, 0};
  if (choice.error != 0) {
    if (thread == 0) *law.head = head;
    return;
  }
  if ((row.flags & draw_random) == 0) {
    head = {1, 1, 0};
    if (thread == 0) {
      law.ids[0] = choice.token;
      law.weights[0] = 1;
    }
  } else if (row.room < 0) {
    const float* x = run.logits + static_cast<int64_t>(index) * run.stride;
    const float* maxima = run.room.maxima + static_cast<int64_t>(index) * blocks;
    float peak = -INFINITY;
    for (int i = thread; i < (row.vocab + sample_block - 1) / sample_block; i += kept_threads)
      peak = maxima[i] > peak ? maxima[i] : peak;
    peak = max_of_block(peak);
    for (int i = thread; i < row.vocab; i += kept_threads) law.weights[i] = weight_of(x[i], peak, row.scale);
    __syncthreads();
    head = {sum_of_list(row.vocab, [&](int i) { return law.weights[i]; }), row.vocab, 1};
  } else {
    const int64_t begin = static_cast<int64_t>(row.room) * run.vocab;
    const int count = run.room.counts[row.room];
    for (int base = 0; base < count; base += kept_threads) {
      const int i = base + thread;
      const float weight = i < count ? run.room.weights[begin + i] : 0.0f;
      const int place = head.count + scan_block(weight > 0 ? 1 : 0) - 1;
      if (weight > 0) {
        law.ids[place] = run.room.ids[begin + i];
        law.weights[place] = weight;
      }
      head.count = max_of_block(place + 1);
    }
    __syncthreads();
    head.total = sum_of_list(head.count, [&](int i) { return law.weights[i]; });
  }
  if (thread == 0) *law.head = head;
}

}  // namespace

void keep_drawn_laws(const SampleRun& run, cudaStream_t stream) {
  launch<keep_laws>(Launch{dim3(static_cast<unsigned>(run.rows)), dim3(kept_threads), 0, stream}, run,
                    sample_blocks_of(run.vocab));
}

}  // namespace vivace::cuda
