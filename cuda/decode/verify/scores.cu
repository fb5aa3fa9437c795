// A judge's linear head on the hidden states of drafted rows, with the bits of judge_score() in
// cpp/decode/verify/judge.cpp: sixteen partial sums, then their sum.
#include "cuda/core/launch.h"
#include "cuda/core/shared.h"
#include "cuda/decode/verify/verify.h"

namespace vivace::cuda {
namespace {

constexpr int score_lanes = 16;

__global__ void judge_scores(const JudgeRow* rows, float* scores) {
  SHARED(float, sums, score_lanes);
  const JudgeRow& row = rows[blockIdx.x];
  const int lane = static_cast<int>(threadIdx.x);
  if (row.hidden == nullptr) return;
  float sum = 0;
  for (int i = lane; i < row.width && lane < score_lanes; i += score_lanes)
    sum = __fadd_rn(sum, __fmul_rn(row.weights[i], row.hidden[i]));
  if (lane < score_lanes) sums[lane] = sum;
  __syncthreads();
  if (lane != 0) return;
  float total = 0;
  for (int i = 0; i < score_lanes; ++i) total = __fadd_rn(total, sums[i]);
  scores[blockIdx.x] = __fadd_rn(total, row.bias);
}

}  // namespace

void score_rows(const VerifyLists& lists, cudaStream_t stream) {
  launch<judge_scores>(Launch{dim3(static_cast<unsigned>(lists.node_count)), dim3(32), 0, stream}, lists.judged,
                       lists.scores);
}

}  // namespace vivace::cuda
