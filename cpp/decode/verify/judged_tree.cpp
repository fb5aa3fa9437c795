#include "decode/verify/judged_tree.h"

#include <algorithm>
#include <tuple>

#include "decode/verify/judge.h"
#include "decode/verify/reflection.h"

namespace vivace {
namespace {

struct Path {
  std::vector<int32_t> rows;  // from the last one up
  int plain = 0;              // how many the model says itself
  double doubt = 0;           // sum of min(score, 0)
};

bool is_better(const Path& a, const Path& b) {
  return std::tuple(a.rows.size(), a.plain, a.doubt) > std::tuple(b.rows.size(), b.plain, b.doubt);
}

Path search(const Walk& walk, int32_t row, int32_t run, float* logits, int64_t vocab) {
  std::vector<float> mixture;
  float* own = logits + row * vocab;
  if (is_read_twice(walk, row)) {
    fuse(walk, row, logits, vocab, mixture);
    own = mixture.data();
  }
  Path best;
  Law law;
  walk.limit(row);
  if (walk.sampler->law(own, vocab, law) != SampleError::none) return best;  // whoever comes here will see it
  const int32_t said = law.token(0);
  for (int32_t child = row + 1; child < static_cast<int32_t>(walk.rows()); ++child) {
    if (walk.parents[static_cast<size_t>(child)] != row) continue;
    const int32_t token = walk.tokens[static_cast<size_t>(child)];
    const bool plain = token == said;
    if (!plain && !(is_judged(walk, child, run) && walk.sampler->allows(own, vocab, token))) continue;
    walk.sampler->accept(&token, 1);
    Path path = search(walk, child, plain ? 0 : run + 1, logits, vocab);
    walk.sampler->retract(&token, 1);
    walk.limit(row);
    path.rows.push_back(child);
    path.plain += plain ? 1 : 0;
    const double score = judge_score(walk, child);
    path.doubt += score < 0 ? score : 0;
    if (is_better(path, best)) best = std::move(path);
  }
  return best;
}

}  // namespace

bool is_tree(const Walk& walk) {
  for (int64_t i = 1; i < walk.rows(); ++i)
    if (walk.parents[static_cast<size_t>(i)] != i - 1) return true;
  return false;
}

std::vector<int32_t> best_path(const Walk& walk, float* logits, int64_t vocab) {
  std::vector<int32_t> rows = search(walk, 0, 0, logits, vocab).rows;
  std::reverse(rows.begin(), rows.end());
  rows.push_back(-1);
  return rows;
}

}  // namespace vivace
