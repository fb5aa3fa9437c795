// Drawing in passes, of which only peaks are always made: mixtures, peaks, the most probable tokens, changed logits and
// their peaks, weights by blocks of 64, a draw per row, its law; see sample.h.
#include "cuda/decode/sample.h"

#include <cmath>

#include "cuda/core/launch.h"
#include "cuda/core/random.h"
#include "cuda/core/reduce.h"
#include "cuda/core/shared.h"
#include "cuda/decode/kept.h"
#include "cuda/decode/plain_logit.h"
#include "cuda/decode/weights.h"

namespace vivace::cuda {
namespace {

constexpr int adjust_threads = 256, weigh_threads = 256, draw_threads = kept_threads;

// Bias, then penalties, as Sampler::adjust(); what was there is kept.
__global__ void sample_adjust(float* logits, int64_t stride, const DrawRow* draws, DrawLists lists,
                              const GreedyChoice* choices, double* totals) {
  const DrawRow& row = draws[blockIdx.x];
  const GreedyChoice choice = choices[blockIdx.x];
  if ((row.flags & draw_adjusted) == 0 || choice.error != 0) return;
  float* x = logits + static_cast<int64_t>(blockIdx.x) * stride;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) totals[blockIdx.x] = static_cast<double>(x[choice.token]) - choice.logprob;
  __syncthreads();
  for (int i = thread; i < row.bias_count; i += adjust_threads) {
    const int32_t token = lists.bias_tokens[row.bias_begin + i];
    if (token < 0 || token >= row.vocab) continue;
    lists.old_biased[row.bias_begin + i] = x[token];
    x[token] += lists.biases[row.bias_begin + i];
  }
  __syncthreads();
  for (int i = thread; i < row.seen_count; i += adjust_threads) {
    const int32_t token = lists.seen[row.seen_begin + i];
    if (token < 0 || token >= row.vocab) continue;
    const float old = x[token];
    lists.old_seen[row.seen_begin + i] = old;
    float value = old > 0 ? old / row.repetition : __fmul_rn(old, row.repetition);
    const uint32_t times = lists.times[row.seen_begin + i];
    if (times > 0) value = __fsub_rn(value, static_cast<float>(times * row.frequency + row.presence));
    x[token] = value;
  }
}

// Maxima and sums of weights of blocks of 64 logits, a warp for each.
__global__ void sample_weigh(const float* logits, int64_t stride, const DrawRow* draws, const GreedyChoice* choices,
                             const GreedyChoice* again, int blocks, float* maxima, float* sums) {
  const DrawRow& row = draws[blockIdx.y];
  if ((row.flags & draw_random) == 0) return;
  const GreedyChoice choice = (row.flags & draw_adjusted) != 0 ? again[blockIdx.y] : choices[blockIdx.y];
  if (choice.error != 0 || choice.token < 0) return;
  const float* x = logits + static_cast<int64_t>(blockIdx.y) * stride;
  const float peak = x[choice.token];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int block = static_cast<int>(blockIdx.x) * (weigh_threads / 32) + static_cast<int>(threadIdx.x) / 32;
  if (block >= blocks) return;
  const int first = block * sample_block + lane, second = first + 32;
  const float a = first < row.vocab ? x[first] : -INFINITY, b = second < row.vocab ? x[second] : -INFINITY;
  float greatest = a > b ? a : b, sum = weight_of(a, peak, row.scale) + weight_of(b, peak, row.scale);
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, greatest, step);
    greatest = other > greatest ? other : greatest;
    sum += __shfl_xor_sync(0xffffffffu, sum, step);
  }
  if (lane != 0) return;
  maxima[static_cast<int64_t>(blockIdx.y) * blocks + block] = greatest;
  sums[static_cast<int64_t>(blockIdx.y) * blocks + block] = sum;
}

__global__ void sample_rows(SampleRun run, int blocks) {
  const int index = static_cast<int>(blockIdx.x);
  const DrawRow& row = run.draws[index];
  if ((row.flags & (draw_adjusted | draw_random)) == 0) return;
  GreedyChoice choice = run.choices[index];
  if (choice.error != 0) return;
  const float* x = run.logits + static_cast<int64_t>(index) * run.stride;
  double total = 0;
  if ((row.flags & draw_adjusted) != 0) {
    choice = run.room.again[index];
    total = run.room.totals[index];
  } else {
    total = static_cast<double>(x[choice.token]) - choice.logprob;
  }
  __syncthreads();
  if (choice.error != 0) {
    if (threadIdx.x == 0) run.choices[index] = choice;
    return;
  }
  int32_t token = choice.token;
  if ((row.flags & draw_random) != 0) {
    const Weighed weighed = {x,
                             run.room.maxima + static_cast<int64_t>(index) * blocks,
                             run.room.sums + static_cast<int64_t>(index) * blocks,
                             x[choice.token],
                             row.scale,
                             row.vocab};
    const double uniform = philox_uniform(row.seed, row.index, row.lane);
    if (row.room < 0) {
      token = draw_plain(weighed, uniform);
    } else {
      Kept kept = {run.room.weights + static_cast<int64_t>(row.room) * run.vocab,
                   run.room.scores + static_cast<int64_t>(row.room) * run.vocab,
                   run.room.ids + static_cast<int64_t>(row.room) * run.vocab,
                   run.room.words + static_cast<int64_t>(row.room) * select_words,
                   0,
                   0};
      truncate(weighed, row, kept);
      if (threadIdx.x == 0) run.room.counts[row.room] = kept.count;
      token = draw_kept(kept, uniform);
    }
  }
  const float logit = plain_logit(x, row, run.lists, token);
  if (threadIdx.x == 0) run.choices[index] = {token, static_cast<float>(logit - total), 0};
}

__global__ void feed_next(const GreedyChoice* choices, int rows, int32_t* tokens) {
  const int row = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (row < rows) tokens[row] = choices[row].token;
}

}  // namespace

void feed_tokens(const GreedyChoice* choices, int rows, int32_t* tokens, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((rows + draw_threads - 1) / draw_threads));
  launch<feed_next>(Launch{grid, dim3(draw_threads), 0, stream}, choices, rows, tokens);
}

void choose_tokens(const SampleRun& run, cudaStream_t stream) {
  const SampleRoom& room = run.room;
  if (run.mixes.count > 0) mix_readings(run, stream);
  choose_greedy(run.logits, run.stride, run.rows, run.vocab, room.parts, run.choices, stream, run.draws, draw_here);
  if (run.mixes.count > 0) note_changes(run, stream);
  if (run.reports) find_tops(run, false, stream);
  const auto rows = static_cast<unsigned>(run.rows);
  if (run.adjusts) {
    launch<sample_adjust>(Launch{dim3(rows), dim3(adjust_threads), 0, stream}, run.logits, run.stride, run.draws,
                          run.lists, static_cast<const GreedyChoice*>(run.choices), room.totals);
    if (run.limits) limit_tokens(run, stream);
    choose_greedy(run.logits, run.stride, run.rows, run.vocab, room.parts, room.again, stream, run.draws,
                  draw_adjusted);
  }
  if (run.ranks) find_tops(run, true, stream);
  const int blocks = sample_blocks_of(run.vocab);
  if (run.draws_random) {
    constexpr int warps = weigh_threads / 32;
    const dim3 grid(static_cast<unsigned>((blocks + warps - 1) / warps), rows);
    launch<sample_weigh>(Launch{grid, dim3(weigh_threads), 0, stream}, static_cast<const float*>(run.logits),
                         run.stride, run.draws, static_cast<const GreedyChoice*>(run.choices),
                         static_cast<const GreedyChoice*>(room.again), blocks, room.maxima, room.sums);
  }
  if (run.adjusts || run.draws_random)
    launch<sample_rows>(Launch{dim3(rows), dim3(draw_threads), 0, stream}, run, blocks);
  if (run.keeps) keep_drawn_laws(run, stream);
  if (run.branches) draw_row_children(run, stream);
}

}  // namespace vivace::cuda
