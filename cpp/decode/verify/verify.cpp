#include "decode/verify/verify.h"

#include <algorithm>
#include <cmath>

#include "decode/verify/judge.h"
#include "decode/verify/judged_tree.h"
#include "decode/verify/reflection.h"
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

// The training-free baseline of judges (arXiv 2601.04766): what was drawn stays where the draft's law is near to the
// target's, whatever it is.
int32_t by_divergence(const Walk& walk, const Law& p, const Proposal::Node& node) {
  const auto measure = static_cast<Measure>(static_cast<int32_t>(walk.options.second));
  if (divergence(p, node.law.view(), measure) < walk.options.first)
    for (const int32_t token : node.drawn)
      if (p.probability(token) > 0) return token;
  return by_ratio(walk, p, node);
}

// What follows a refused token by the first reading, where a second one refused it: the draft's law, or the children
// that were chosen, are taken away from the law.
SampleError correct(const Walk& walk, int32_t at, float* logits, int64_t vocab, const Proposal::Node* node,
                    int32_t& token) {
  Law p;
  const SampleError error = walk.sampler->law(logits, vocab, p);
  if (error != SampleError::none) return error;
  Residual left(p);
  if (node != nullptr) {
    std::vector<int32_t> refused;
    for (const int32_t drawn : node->drawn) {
      left.subtract(node->law.view(), walk.proposal->replacement ? std::vector<int32_t>{} : refused);
      refused.push_back(drawn);
    }
  } else if (walk.options.rule != VerifyRule::typical && walk.options.rule != VerifyRule::relaxed) {
    for (int64_t child = at + 1; child < walk.rows(); ++child) {
      const auto i = static_cast<size_t>(child);
      if (walk.parents[i] == at) left.subtract(StoredLaw({walk.tokens[i]}, {1.0f}).view());
    }
  }
  token = left.draw(walk.sampler->uniform(lane_of(walk.cycle, Lane::residual, 0)));
  return SampleError::none;
}

// Ends a sampler's limits however a walk ends.
struct Limited {
  const Walk& walk;
  ~Limited() { walk.limit(0, false); }
};

// The walk's outputs and what is reported of them.
struct Rows {
  Walk& walk;
  float* logits;
  int64_t vocab;
  SampleResult* results;
  std::vector<TokenLogprob>* top;
  std::vector<float> mixture = {};
  bool mixed = false;

  float* first(int32_t row) const { return logits + row * vocab; }
  // What the row is judged by, valid until the next one's.
  float* read(int32_t row) {
    walk.limit(row);
    mixed = is_read_twice(walk, row);
    if (!mixed) return first(row);
    if (fuse(walk, row, logits, vocab, mixture)) walk.changed.push_back(row);
    return mixture.data();
  }
  // Log-probabilities are those of the first reading, whatever the token was drawn from. `last`: the sampler's last law
  // is that of these logits.
  void tell(int32_t row, int32_t token, bool last) {
    walk.sampler->tell(first(row), vocab, token, results[row], !last || mixed);
    keep_top(row);
  }
  void keep_top(int32_t row) { top[row].assign(results[row].top, results[row].top + results[row].top_count); }
};

// Sun et al. 2024, "Block verification accelerates speculative decoding": the longest prefix whose joint probability
// allows it. Laws of all rows are needed, each for the text that the draft's earlier tokens would make.
void by_block(Rows& rows) {
  Walk& walk = rows.walk;
  const Proposal& proposal = *walk.proposal;
  const auto drafted = static_cast<size_t>(walk.rows()) - 1;
  std::vector<StoredLaw> laws;
  std::vector<double> ratios = {1};  // π of the method
  const uint64_t cycle = walk.cycle;
  std::vector<double> uniforms;
  SampleError error = SampleError::none;
  for (size_t i = 0; i <= drafted; ++i) {
    uniforms.push_back(walk.sampler->uniform(lane_of(cycle, Lane::block, 0)));
    Law p;
    error = walk.sampler->law(rows.read(static_cast<int32_t>(i)), rows.vocab, p);
    if (error != SampleError::none) break;
    laws.emplace_back(p);
    if (i == drafted) break;
    const int32_t token = walk.tokens[i + 1];
    // What was drawn may be no token of the target's at all; another one stands in its row then.
    const Proposal::Node& node = proposal.nodes[i];
    const int32_t drawn = node.drawn.empty() ? token : node.drawn.front();
    const double q = node.law.view().probability(drawn);
    const double ratio = q > 0 ? ratios.back() * p.probability(drawn) / q : 1;
    ratios.push_back(std::min(ratio, 1.0));
    walk.sampler->accept(&token, 1);
  }
  if (error != SampleError::none) {  // at a row that the draft may never have reached: nothing is kept
    walk.sampler->retract(walk.tokens.data() + 1, static_cast<int64_t>(laws.size()));
    rows.results[0].error = error;
    walk.changed.clear();
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
  walk.changed.erase(std::remove_if(walk.changed.begin(), walk.changed.end(),
                                    [&](int32_t row) { return static_cast<size_t>(row) > kept; }),
                     walk.changed.end());
  for (size_t i = 0; i <= kept; ++i) {
    const auto row = static_cast<int32_t>(i);
    Law p;
    walk.limit(row);
    rows.mixed = is_read_twice(walk, row);
    const bool plainly = rows.mixed && !walk.reflection.corrects && i == kept && kept < drafted;
    if (plainly) rows.results[row].error = walk.sampler->law(rows.first(row), rows.vocab, p);
    if (rows.results[row].error != SampleError::none) return;
    int32_t token = i < kept ? walk.tokens[i + 1] : -1;
    if (i == kept) {
      Residual left(plainly ? p : laws[i].view());
      if (kept < drafted) left.subtract(proposal.nodes[i].law.view(), {}, ratios[i]);
      token = left.draw(walk.sampler->uniform(lane_of(cycle, Lane::residual, 0)));
    }
    rows.tell(row, token, false);
    walk.sampler->accept(&token, 1);
    if (i < kept) walk.kept.push_back(row + 1);
  }
}

}  // namespace

bool is_drawn_chain(const Walk& walk) {
  if (walk.proposal == nullptr) return false;
  for (int64_t i = 1; i < walk.rows(); ++i) {
    const auto at = static_cast<size_t>(i);
    if (walk.parents[at] != i - 1 || at > walk.proposal->nodes.size()) return false;
    const Proposal::Node& node = walk.proposal->nodes[at - 1];
    // Two that were drawn and happen to be equal are no chain: the rule must not depend on what was drawn.
    if (!node.has_law() || node.drawn.size() > 1) return false;
  }
  return true;
}

void Walk::limit(int32_t row, bool on) const {
  const auto at = static_cast<size_t>(row);
  if (!masks.empty()) sampler->limit_to(on && !masks[at].empty() ? masks[at].data() : nullptr);
}

int Walk::depth() const {
  std::vector<int> depths(parents.size(), 0);
  for (size_t row = 1; row < parents.size(); ++row) depths[row] = depths[static_cast<size_t>(parents[row])] + 1;
  return depths.empty() ? 0 : *std::max_element(depths.begin(), depths.end());
}

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
  walk.judged.clear();
  walk.changed.clear();
  Rows rows{walk, logits, vocab, results, top};
  const Limited limited{walk};
  VerifyRule rule = walk.options.rule;
  const bool judges = walk.judge.weights != nullptr;
  if (rule == VerifyRule::block) {
    if (!judges && is_drawn_chain(walk)) return by_block(rows);
    rule = VerifyRule::ratio;
  }
  std::vector<int32_t> path;  // rows to keep, where they have been chosen beforehand
  if (judges && walk.sampler->greedy() && is_tree(walk)) path = best_path(walk, logits, vocab);
  int32_t run = 0;
  for (int32_t at = 0; at >= 0;) {
    float* const row = rows.read(at);
    SampleResult& result = results[at];
    const Proposal* proposal = walk.proposal;
    const Proposal::Node* node = nullptr;
    if (proposal != nullptr && static_cast<size_t>(at) < proposal->nodes.size())
      node = &proposal->nodes[static_cast<size_t>(at)];
    // What was drawn behind the draft's end is not part of it.
    const bool drawn = node != nullptr && !node->law.empty() && !node->drawn.empty() && walk.has_children(at);
    int32_t token = -1;
    result.token = -1;
    const bool by_laws = rule == VerifyRule::ratio || rule == VerifyRule::divergence;
    if (rule == VerifyRule::match || (by_laws && !drawn)) {
      walk.sampler->sample(row, vocab, result);
      token = result.token;
    } else {
      Law p;
      result.error = walk.sampler->law(row, vocab, p);
      if (result.error == SampleError::none)
        token = rule == VerifyRule::ratio        ? by_ratio(walk, p, *node)
                : rule == VerifyRule::divergence ? by_divergence(walk, p, *node)
                : rule == VerifyRule::typical    ? by_type(walk, p, at)
                                                 : by_rank(walk, p, at);
    }
    if (result.error != SampleError::none) return;
    int32_t next = walk.child(at, token);
    bool judged = false;
    if (judges && (next < 0 || !path.empty())) {
      const size_t step = walk.kept.size() - 1;
      const int32_t other = path.empty()         ? best_judged(walk, at, run, row, vocab)
                            : step < path.size() ? path[step]
                                                 : -1;
      judged = other >= 0 && other != next;
      if (judged) token = walk.tokens[static_cast<size_t>(other)];
      if (judged) next = other;
    }
    if (next < 0 && rows.mixed && !walk.reflection.corrects && walk.has_children(at)) {
      result.error = correct(walk, at, rows.first(at), vocab, by_laws && drawn ? node : nullptr, token);
      if (result.error != SampleError::none) return;
      next = walk.child(at, token);
    }
    if (result.token == token && !rows.mixed)
      rows.keep_top(at);  // it was reported when it was drawn
    else
      rows.tell(at, token, !judges);
    walk.sampler->accept(&token, 1);
    run = judged ? run + 1 : 0;
    if (judged) walk.judged.push_back(next);
    if (next > 0) walk.kept.push_back(next);
    at = next;
  }
}

}  // namespace vivace
