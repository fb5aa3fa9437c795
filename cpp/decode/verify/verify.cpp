#include "decode/verify/verify.h"

#include <algorithm>
#include <cmath>

#include "decode/verify/residual.h"

namespace vivace {
namespace {

// Chains: Leviathan et al. 2022 and Chen et al. 2023; several children: SpecInfer (with replacement) and Sequoia
// (without): each refusal takes the draft's law away from the target's.
int32_t by_ratio(const Walk& walk, const Law& p, const Proposal::Node& node) {
  Residual left(p);
  const Law q = node.law.view();
  std::vector<int32_t> refused;
  uint64_t trial = 0;
  for (const int32_t token : node.drawn) {
    const bool seen = !refused.empty() && !walk.proposal->replacement;
    double rest = 1;
    if (seen)
      for (const int32_t gone : refused) rest -= q.probability(gone);
    if (rest <= 0) break;  // the draft's law has nothing else
    const double u = walk.sampler->uniform(lane_of(walk.cycle, Lane::accept, trial++));
    if (u * q.probability(token) < left.probability(token) * rest) return token;
    left.subtract(q, seen ? refused : std::vector<int32_t>{});
    refused.push_back(token);
  }
  return left.draw(walk.sampler->uniform(lane_of(walk.cycle, Lane::residual, 0)));
}

// Cai et al. 2024 (Medusa), section 2.3.1: p(x) > min(epsilon, delta · e^-H(p)).
int32_t by_type(const Walk& walk, const Law& p, int32_t row) {
  double entropy = 0;
  for (int64_t i = 0; i < p.count; ++i) {
    const double x = p.weights[i] / p.total;
    if (x > 0) entropy -= x * std::log(x);
  }
  const double least = std::min(walk.options.first, walk.options.second * std::exp(-entropy));
  for (int64_t i = row + 1; i < walk.rows(); ++i) {
    const auto at = static_cast<size_t>(i);
    if (walk.parents[at] == row && p.probability(walk.tokens[at]) > least) return walk.tokens[at];
  }
  return Residual(p).draw(walk.sampler->uniform(lane_of(walk.cycle, Lane::residual, 0)));
}

int32_t by_rank(const Walk& walk, const Law& p, int32_t row) {
  double greatest = 0;
  for (int64_t i = 0; i < p.count; ++i) greatest = std::max(greatest, p.weights[i] / p.total);
  for (int64_t i = row + 1; i < walk.rows(); ++i) {
    const auto at = static_cast<size_t>(i);
    if (walk.parents[at] != row) continue;
    const double own = p.probability(walk.tokens[at]);
    if (own <= 0 || own < greatest - walk.options.second) continue;
    double better = 0;
    for (int64_t k = 0; k < p.count; ++k) better += p.weights[k] / p.total > own ? 1 : 0;
    if (better < walk.options.first) return walk.tokens[at];
  }
  return Residual(p).draw(walk.sampler->uniform(lane_of(walk.cycle, Lane::residual, 0)));
}

struct Row {
  float* logits;
  int64_t vocab;
  SampleResult* result;
  std::vector<TokenLogprob>* top;
};

void keep_top(const Row& row) {
  row.top->assign(row.result->top, row.result->top + row.result->top_count);
}

// Sun et al. 2024, "Block verification accelerates speculative decoding": the longest prefix whose joint probability
// allows it. Laws of all rows are needed, each for the text that the draft's earlier tokens would make.
void by_block(Walk& walk, const std::vector<Row>& rows) {
  const Proposal& proposal = *walk.proposal;
  const size_t drafted = rows.size() - 1;
  std::vector<StoredLaw> laws;
  std::vector<double> ratios = {1};  // π of the method
  const uint64_t cycle = walk.cycle;
  std::vector<double> uniforms;
  SampleError error = SampleError::none;
  for (size_t i = 0; i <= drafted; ++i) {
    uniforms.push_back(walk.sampler->uniform(lane_of(cycle, Lane::block, 0)));
    Law p;
    error = walk.sampler->law(rows[i].logits, rows[i].vocab, p);
    if (error != SampleError::none) break;
    laws.emplace_back(p);
    if (i == drafted) break;
    const int32_t token = walk.tokens[i + 1];
    const double q = proposal.nodes[i].law.view().probability(token);
    const double ratio = q > 0 ? ratios.back() * p.probability(token) / q : 1;
    ratios.push_back(std::min(ratio, 1.0));
    walk.sampler->accept(&token, 1);
  }
  if (error != SampleError::none) {  // at a row that the draft may never have reached: nothing is kept
    walk.sampler->retract(walk.tokens.data() + 1, static_cast<int64_t>(laws.size()));
    rows[0].result->error = error;
    return;
  }
  walk.sampler->retract(walk.tokens.data() + 1, static_cast<int64_t>(drafted));
  size_t kept = 0;
  for (size_t i = 1; i <= drafted; ++i) {
    double bound = ratios[i];
    if (i < drafted) {
      const double sum = excess(laws[i].view(), proposal.nodes[i].law.view(), ratios[i]);
      bound = sum > 0 ? sum / (sum + 1 - ratios[i]) : 0;
    }
    if (uniforms[i] < bound) kept = i;
  }
  for (size_t i = 0; i <= kept; ++i) {
    Law p;
    if (walk.sampler->law(rows[i].logits, rows[i].vocab, p) != SampleError::none) return;  // it had a law before
    int32_t token = i < kept ? walk.tokens[i + 1] : -1;
    if (i == kept) {
      Residual left(p);
      if (kept < drafted) left.subtract(proposal.nodes[i].law.view(), {}, ratios[i]);
      token = left.draw(walk.sampler->uniform(lane_of(cycle, Lane::residual, 0)));
    }
    walk.sampler->tell(rows[i].logits, rows[i].vocab, token, *rows[i].result);
    keep_top(rows[i]);
    walk.sampler->accept(&token, 1);
    if (i < kept) walk.kept.push_back(static_cast<int32_t>(i + 1));
  }
}

// Whether the draft is a chain that was drawn, every token of it.
bool is_drawn_chain(const Walk& walk) {
  if (walk.proposal == nullptr) return false;
  for (int64_t i = 1; i < walk.rows(); ++i) {
    const auto at = static_cast<size_t>(i);
    if (walk.parents[at] != i - 1 || at > walk.proposal->nodes.size() || walk.proposal->nodes[at - 1].law.empty())
      return false;
  }
  return true;
}

}  // namespace

bool Walk::has_children(int32_t row) const {
  return std::find(parents.begin() + row, parents.end(), row) != parents.end();
}

int32_t Walk::child(int32_t row, int32_t token) const {
  for (size_t i = static_cast<size_t>(row) + 1; i < tokens.size(); ++i)
    if (parents[i] == row && tokens[i] == token) return static_cast<int32_t>(i);
  return -1;
}

void verify(Walk& walk, float* logits, int64_t vocab, SampleResult* results, std::vector<TokenLogprob>* top) {
  walk.kept = {0};
  const auto row_at = [&](int64_t i) { return Row{logits + i * vocab, vocab, results + i, top + i}; };
  VerifyRule rule = walk.options.rule;
  if (rule == VerifyRule::block) {
    if (is_drawn_chain(walk)) {
      std::vector<Row> rows;
      for (int64_t i = 0; i < walk.rows(); ++i) rows.push_back(row_at(i));
      return by_block(walk, rows);
    }
    rule = VerifyRule::ratio;
  }
  for (int32_t at = 0; at >= 0;) {
    const Row row = row_at(at);
    SampleResult& result = *row.result;
    const Proposal* proposal = walk.proposal;
    const Proposal::Node* node = nullptr;
    if (proposal != nullptr && static_cast<size_t>(at) < proposal->nodes.size())
      node = &proposal->nodes[static_cast<size_t>(at)];
    // What was drawn behind the draft's end is not part of it.
    const bool drawn = node != nullptr && !node->law.empty() && !node->drawn.empty() && walk.has_children(at);
    if (rule == VerifyRule::match || (rule == VerifyRule::ratio && !drawn)) {
      walk.sampler->sample(row.logits, vocab, result);
    } else {
      Law p;
      const SampleError error = walk.sampler->law(row.logits, vocab, p);
      if (error != SampleError::none) {
        result.error = error;
      } else {
        const int32_t token = rule == VerifyRule::ratio     ? by_ratio(walk, p, *node)
                              : rule == VerifyRule::typical ? by_type(walk, p, at)
                                                            : by_rank(walk, p, at);
        walk.sampler->tell(row.logits, vocab, token, result);
      }
    }
    if (result.error != SampleError::none) return;
    keep_top(row);
    walk.sampler->accept(&result.token, 1);
    at = walk.child(at, result.token);
    if (at > 0) walk.kept.push_back(at);
  }
}

}  // namespace vivace
