// The most probable tokens of a row, as the model gave it or after bias, penalties and bans: a selection by rank, and
// the few that it leaves in their order.
#include "cuda/core/launch.h"
#include "cuda/decode/kept.h"
#include "cuda/decode/sample.h"
#include "cuda/decode/select.h"

namespace vivace::cuda {
namespace {

__global__ void top_rows(SampleRun run, int32_t ranked) {
  const DrawRow& row = run.draws[blockIdx.x];
  if ((row.flags & draw_ranked) != ranked) return;
  const bool again = ranked != 0 && (row.flags & draw_adjusted) != 0;
  const GreedyChoice choice = again ? run.room.again[blockIdx.x] : run.choices[blockIdx.x];
  if (row.top_count == 0 || choice.error != 0 || choice.token < 0) return;
  const float* x = run.logits + static_cast<int64_t>(blockIdx.x) * run.stride;
  const double total = static_cast<double>(x[choice.token]) - choice.logprob;
  unsigned long long* words = run.room.top_words + static_cast<int64_t>(row.top_room) * select_words;
  unsigned long long* keys = run.room.top_keys + row.top_begin;
  const int thread = static_cast<int>(threadIdx.x);
  const uint64_t least = select_rank(
      row.vocab, static_cast<uint64_t>(row.top_count), [&](int i) { return x[i]; }, [](int) { return uint64_t{1}; },
      words);
  __syncthreads();
  if (thread == 0) words[0] = 0;
  __syncthreads();
  for (int i = thread; i < row.vocab; i += kept_threads) {
    const uint64_t key = rank_key(float_order(x[i]), i);
    if (key >= least) keys[atomicAdd(words, 1ull)] = key;
  }
  __syncthreads();
  for (int i = thread; i < row.top_count; i += kept_threads) {
    const uint64_t key = keys[i];
    int before = 0;
    for (int k = 0; k < row.top_count; ++k) before += keys[k] > key ? 1 : 0;
    const auto token = static_cast<int32_t>(0xFFFFFFFFu - static_cast<uint32_t>(key));
    run.tops[row.top_begin + before] = {token, static_cast<float>(x[token] - total)};
  }
}

}  // namespace

void find_tops(const SampleRun& run, bool ranked, cudaStream_t stream) {
  launch<top_rows>(Launch{dim3(static_cast<unsigned>(run.rows)), dim3(kept_threads), 0, stream}, run,
                   ranked ? draw_ranked : 0);
}

}  // namespace vivace::cuda
