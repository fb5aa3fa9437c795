#include "decode/verify/judge.h"

namespace vivace {

float judge_score(const Walk& walk, int32_t row) {
  constexpr int64_t lanes =
      16;  // partial sums, so that rounding does not grow with the width and compilers can vectorise
  const Judge& judge = walk.judge;
  const float* hidden = judge.hidden + row * judge.width;
  float sums[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= judge.width; i += lanes)
    for (int64_t k = 0; k < lanes; ++k) sums[k] += judge.weights[i + k] * hidden[i + k];
  for (int64_t k = 0; i < judge.width; ++i, ++k) sums[k] += judge.weights[i] * hidden[i];
  float total = 0;
  for (const float sum : sums) total += sum;
  return total + judge.bias;
}

bool is_judged(const Walk& walk, int32_t row, int32_t run) {
  const Judge& judge = walk.judge;
  if (judge.weights == nullptr || judge.hidden == nullptr || row <= 0) return false;
  if (judge.longest > 0 && run >= judge.longest) return false;
  const auto at = static_cast<size_t>(row);
  if (at < judge.guarded.size() && judge.guarded[at] != 0) return false;
  return static_cast<double>(judge_score(walk, row)) > judge.bound;
}

int32_t best_judged(const Walk& walk, int32_t row, int32_t run, float* logits, int64_t vocab) {
  int32_t best = -1;
  float score = 0;
  for (int32_t child = row + 1; child < static_cast<int32_t>(walk.rows()); ++child) {
    const auto at = static_cast<size_t>(child);
    if (walk.parents[at] != row || !is_judged(walk, child, run)) continue;
    const float own = judge_score(walk, child);
    if (best >= 0 && own <= score) continue;
    if (!walk.sampler->allows(logits, vocab, walk.tokens[at])) continue;
    best = child;
    score = own;
  }
  return best;
}

}  // namespace vivace
