// A block of threads per walk; see verify.h. cpp/decode/verify/verify.cpp says whose methods the rules are.
#include "cuda/decode/verify/verify.h"

#include <cmath>

#include "cuda/core/launch.h"
#include "cuda/core/random.h"
#include "cuda/core/reduce.h"
#include "cuda/decode/plain_logit.h"
#include "cuda/decode/verify/judged.h"
#include "cuda/decode/verify/residual.h"

namespace vivace::cuda {
namespace {

// As lane_of() of cpp/decode/verify/verify.h.
constexpr uint64_t lane_accept = 2, lane_residual = 3, lane_block = 4;
__device__ inline double uniform_of(const DrawRow& row, uint64_t cycle, uint64_t lane, int number) {
  return philox_uniform(row.seed, row.index, cycle << 20 | lane << 16 | (static_cast<uint64_t>(number) & 0xFFFF));
}

struct WalkRow {
  const VerifyWalk& walk;
  const VerifyNode* nodes;  // of the walk
  const DrawRow& draw;
  int at;  // the row's place in the walk
};

__device__ int32_t choose_residual(const WalkRow& row, const Residual& law) {
  return draw_from(law, uniform_of(row.draw, row.walk.cycle, lane_residual, 0));
}

__device__ int32_t choose_by_ratio(const WalkRow& row, Residual& left, const int32_t* drawn, int drawn_count) {
  const DraftLaw q(row.nodes[row.at].law);
  for (int trial = 0; trial < drawn_count; ++trial) {
    const int gone = row.walk.replacement != 0 ? 0 : trial;
    double rest = 1;
    for (int k = 0; k < gone; ++k) rest -= q.probability(drawn[k]);
    if (rest <= 0) break;  // the draft's law has nothing else
    const int32_t token = drawn[trial];
    const double u = uniform_of(row.draw, row.walk.cycle, lane_accept, trial);
    if (u * q.probability(token) < left.probability(token) * rest) return token;
    __syncthreads();  // everybody has read what is changed now
    subtract(left, q, drawn, gone, rest, 1);
  }
  return choose_residual(row, left);
}

// What was drawn stays where the two laws are near to each other. `second`: Measure of cpp/decode/verify/residual.h.
__device__ int32_t choose_by_divergence(const WalkRow& row, Residual& law, const int32_t* drawn, int drawn_count) {
  const DraftLaw q(row.nodes[row.at].law);
  if (divergence(law, q, static_cast<int>(row.walk.second)) < row.walk.first)
    for (int i = 0; i < drawn_count; ++i)
      if (law.probability(drawn[i]) > 0) return drawn[i];
  return choose_by_ratio(row, law, drawn, drawn_count);
}

// The first child that is probable enough for the law's entropy.
__device__ int32_t choose_by_type(const WalkRow& row, const Residual& law) {
  const double entropy = sum_of_list(law.count, [&](int i) {
    const double p = law.values[i] / law.total;
    return p > 0 ? -p * log(p) : 0.0;
  });
  const double from_entropy = row.walk.second * exp(-entropy);
  const double least = from_entropy < row.walk.first ? from_entropy : row.walk.first;
  uint64_t first = ~uint64_t{0};
  for (int i = row.at + 1 + static_cast<int>(threadIdx.x); i < row.walk.rows; i += kept_threads)
    if (row.nodes[i].parent == row.at && static_cast<uint64_t>(i) < first &&
        law.probability(row.nodes[i].token) > least)
      first = static_cast<uint64_t>(i);
  first = least_of_block(first);
  return first != ~uint64_t{0} ? row.nodes[first].token : choose_residual(row, law);
}

// The first child among the most probable tokens that is near to the first of them.
__device__ int32_t choose_by_rank(const WalkRow& row, const Residual& law) {
  double greatest = 0;
  for (int i = static_cast<int>(threadIdx.x); i < law.count; i += kept_threads) {
    const double p = law.values[i] / law.total;
    greatest = p > greatest ? p : greatest;
  }
  greatest = max_of_block(greatest);
  for (int i = row.at + 1; i < row.walk.rows; ++i) {
    if (row.nodes[i].parent != row.at) continue;
    const double own = law.probability(row.nodes[i].token);
    if (own <= 0 || own < greatest - row.walk.second) continue;
    const double better = sum_of_list(law.count, [&](int k) { return law.values[k] / law.total > own ? 1.0 : 0.0; });
    if (better < row.walk.first) return row.nodes[i].token;
  }
  return choose_residual(row, law);
}

// What follows a refused token by the first reading, where the mixture refused it: the draft's law, or the children
// that were chosen, are taken away from the row's own.
__device__ int32_t correct(const WalkRow& row, Residual& left, bool by_law, const int32_t* drawn) {
  const VerifyNode& node = row.nodes[row.at];
  if (by_law) {
    const DraftLaw q(node.law);
    for (int trial = 0; trial < node.drawn_count; ++trial) {
      const int gone = row.walk.replacement != 0 ? 0 : trial;
      double rest = 1;
      for (int k = 0; k < gone; ++k) rest -= q.probability(drawn[k]);
      if (rest > 0) subtract(left, q, drawn, gone, rest, 1);
    }
  } else if (row.walk.rule != rule_typical && row.walk.rule != rule_relaxed) {
    for (int child = row.at + 1; child < row.walk.rows; ++child) {
      if (row.nodes[child].parent != row.at) continue;
      const int32_t token = row.nodes[child].token;
      const int place = left.ids != nullptr ? place_of(left.ids, left.count, token) : token;
      if (place < 0 || place >= left.count) continue;
      const double rest = sum_of_list(left.count, [&](int i) { return i == place ? 0.0 : left.values[i]; });
      if (rest <= 0) continue;
      if (threadIdx.x == 0) left.values[place] = 0;
      __syncthreads();
      left.total = rest;
    }
  }
  return choose_residual(row, left);
}

// Makes `token` the choice of an output in the place of what the row drew. The sum under all logprobs of a row is known
// by that of its own choice; not where the row's own logits are broken and its mixture is not.
__device__ void say(const SampleRun& run, int index, GreedyChoice choice, int32_t token, int32_t marks) {
  const float* x = run.logits + static_cast<int64_t>(index) * run.stride;
  const DrawRow& row = run.draws[index];
  const bool broken = choice.error != 0;
  const float own = plain_logit(x, row, run.lists, broken ? token : choice.token);
  const float logit = plain_logit(x, row, run.lists, token);
  if (token != choice.token) choice = {token, broken ? NAN : choice.logprob + (logit - own), 0};
  choice.marks = marks;
  __syncthreads();  // a greedy row's law is where the choice goes
  if (threadIdx.x == 0) run.choices[index] = choice;
}

__device__ void say_nothing(const SampleRun& run, int begin, int end) {
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kept_threads) run.choices[i] = {-1, 0, 0};
}

// The row's first child with this token; `walk.rows`: none.
__device__ int child_of(const VerifyWalk& walk, const VerifyNode* nodes, int at, int32_t token) {
  uint64_t next = static_cast<uint64_t>(walk.rows);
  for (int i = at + 1 + static_cast<int>(threadIdx.x); i < walk.rows; i += kept_threads)
    if (nodes[i].parent == at && nodes[i].token == token && static_cast<uint64_t>(i) < next)
      next = static_cast<uint64_t>(i);
  return static_cast<int>(least_of_block(next));
}

__device__ bool has_children(const VerifyWalk& walk, const VerifyNode* nodes, int at) {
  for (int i = at + 1; i < walk.rows; ++i)
    if (nodes[i].parent == at) return true;
  return false;
}

// From the root to the child that each row chooses, and so on.
__global__ void verify_rows(SampleRun run, VerifyLists lists, int blocks, double* residuals) {
  const VerifyWalk& walk = lists.walks[blockIdx.x];
  if (walk.rule == rule_block) return;
  const VerifyNode* nodes = lists.nodes + walk.node_begin;
  double* values = residuals + static_cast<int64_t>(blockIdx.x) * run.vocab;
  const int thread = static_cast<int>(threadIdx.x);
  const bool judges = walk.judged != 0;
  const int32_t begin = judges ? walk.node_begin : 0;
  const JudgedWalk judge = {run, walk, nodes, lists.judged + begin, lists.scores + begin, blocks};
  const bool chosen = judges && (run.draws[walk.output].flags & draw_random) == 0 && judge.is_tree();
  JudgedPath* const paths = lists.paths + begin;
  if (chosen && thread == 0) judge.find_paths(paths);
  __syncthreads();
  int only_judged = 0;  // rows in a row
  for (int at = 0; at < walk.rows;) {
    const VerifyNode& node = nodes[at];
    const int index = walk.output + at, reading = judge.reading(at);
    const WalkRow row = {walk, nodes, run.draws[index], at};
    const bool mixed = reading != index;
    const GreedyChoice choice = run.choices[index], said = run.choices[reading];
    const int32_t* drawn = lists.drawn + node.drawn_begin;
    const bool by_law =
        (walk.rule == rule_ratio || walk.rule == rule_divergence) && node.law.head != nullptr && node.drawn_count > 0;
    int32_t token = said.token, error = said.error;
    int32_t marks = mixed && run.mixes.changed[node.mix] != 0 ? mark_changed : 0;
    int to = walk.rows;
    if (error == 0) {
      if (by_law || walk.rule == rule_typical || walk.rule == rule_relaxed) {
        Residual law = law_of(run, reading, blocks, &run.choices[reading].token, values);
        token = walk.rule == rule_typical      ? choose_by_type(row, law)
                : walk.rule == rule_relaxed    ? choose_by_rank(row, law)
                : walk.rule == rule_divergence ? choose_by_divergence(row, law, drawn, node.drawn_count)
                                               : choose_by_ratio(row, law, drawn, node.drawn_count);
      }
      to = child_of(walk, nodes, at, token);
      if (judges && (to == walk.rows || chosen)) {
        const int other = chosen ? paths[at].child : judge.best(at, only_judged);
        if (other >= 0 && other != to) {
          to = other;
          token = nodes[other].token;
          marks |= mark_judged;
        }
      }
      only_judged = (marks & mark_judged) != 0 ? only_judged + 1 : 0;
      if (mixed && walk.corrects == 0 && to == walk.rows && has_children(walk, nodes, at)) {
        error = choice.error;
        if (error == 0) {
          __syncthreads();  // everybody has read what the last law has left
          Residual left = law_of(run, index, blocks, &run.choices[index].token, values);
          token = correct(row, left, by_law, drawn);
          to = child_of(walk, nodes, at, token);
        }
      }
    }
    if (error == 0) {
      say(run, index, choice, token, marks);
    } else {
      __syncthreads();  // everybody has read the row's choice
      if (thread == 0) run.choices[index] = {-1, 0, error, marks};
    }
    say_nothing(run, index + 1, walk.output + to);
    __syncthreads();
    at = to;
  }
}

// The longest prefix of a chain whose joint probability allows it.
__global__ void verify_block(SampleRun run, VerifyLists lists, int blocks, double* residuals) {
  const VerifyWalk& walk = lists.walks[blockIdx.x];
  if (walk.rule != rule_block) return;
  const VerifyNode* nodes = lists.nodes + walk.node_begin;
  double* values = residuals + static_cast<int64_t>(blockIdx.x) * run.vocab;
  const int drafted = walk.rows - 1;
  const JudgedWalk judge = {run, walk, nodes, nullptr, nullptr, blocks};
  for (int i = 0; i <= drafted; ++i) {
    const GreedyChoice choice = run.choices[judge.reading(i)];
    if (choice.error == 0) continue;
    __syncthreads();  // everybody has read the root's
    if (threadIdx.x == 0) run.choices[walk.output] = choice;
    say_nothing(run, walk.output + 1, walk.output + walk.rows);
    return;
  }
  const auto law_at = [&](int index) { return law_of(run, index, blocks, &run.choices[index].token, values); };
  double ratio = 1, ratio_kept = 1;  // π of the method, for the prefix of i tokens and for the longest that stays
  int kept = 0;
  for (int i = 0; i <= drafted; ++i) {
    double bound = ratio, next = ratio;
    if (i < drafted) {
      const Residual p = law_at(judge.reading(i));
      const DraftLaw q(nodes[i].law);
      // What was drawn may be no token of the target's at all; another one stands in its row then.
      const int32_t token = nodes[i].drawn_count > 0 ? lists.drawn[nodes[i].drawn_begin] : nodes[i + 1].token;
      const double drawn = q.probability(token);
      next = drawn > 0 ? ratio * p.probability(token) / drawn : 1;
      next = next < 1 ? next : 1;
      const double excess = sum_of_list(p.count, [&](int k) {
        const double left = ratio * (p.values[k] / p.total) - q.probability(p.token(k));
        return left > 0 ? left : 0.0;
      });
      bound = excess > 0 ? excess / (excess + 1 - ratio) : 0;
      __syncthreads();  // the next row's law comes to the same place
    }
    if (i > 0 && uniform_of(run.draws[walk.output + i], walk.cycle, lane_block, 0) < bound) {
      kept = i;
      ratio_kept = ratio;
    }
    ratio = next;
  }
  for (int i = 0; i <= kept; ++i) {
    const int index = walk.output + i, reading = judge.reading(i);
    const bool plainly = reading != index && walk.corrects == 0 && i == kept && kept < drafted;
    const GreedyChoice choice = run.choices[index];
    int32_t token = -1;
    if (i < kept) {
      token = nodes[i + 1].token;
    } else if (!plainly || choice.error == 0) {
      Residual left = law_at(plainly ? index : reading);
      if (i < drafted) subtract(left, DraftLaw(nodes[i].law), nullptr, 0, 1, ratio_kept);
      token = choose_residual({walk, nodes, run.draws[index], i}, left);
    }
    const bool changed = reading != index && run.mixes.changed[nodes[i].mix] != 0;
    if (token >= 0) say(run, index, choice, token, changed ? mark_changed : 0);
  }
  say_nothing(run, walk.output + kept + 1, walk.output + walk.rows);
}

}  // namespace

void verify_walks(const SampleRun& sample, const VerifyLists& lists, int walks, bool blocks, bool others,
                  double* residuals, cudaStream_t stream) {
  const Launch shape{dim3(static_cast<unsigned>(walks)), dim3(kept_threads), 0, stream};
  const int parts = sample_blocks_of(sample.vocab);
  if (lists.judged != nullptr) score_rows(lists, stream);
  if (others) launch<verify_rows>(shape, sample, lists, parts, residuals);
  if (blocks) launch<verify_block>(shape, sample, lists, parts, residuals);
}

}  // namespace vivace::cuda
