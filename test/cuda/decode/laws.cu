// Verification on the card leaves the law as it is: χ² on the first two tokens of an answer, by every exact rule and
// kind of draft, and mistakes that the same test finds. A million drafts of each on a card; on the emulated one, where
// a draft takes 5 ms, a few hundred: there verify.cu, which wants the host's verdicts, sees more.
#include "cuda/decode/verify/verify.h"
#include "decode/verify/verify.h"
#include "test/cuda/decode/decode.h"

namespace vivace::cuda {
namespace {

using namespace trial;

constexpr int vocab = 5, together = 400;
#if defined(__CUDACC__)
constexpr int drafts = 1000000, mistaken = 20000;
#else
constexpr int drafts = 400, mistaken = 400;
#endif
#if defined(__SANITIZE_ADDRESS__)
constexpr bool finds_mistakes = false;  // 10 times as slow
#else
constexpr bool finds_mistakes = true;
#endif

enum class Mistake { none, other_row, whole_law, dropped };

struct Kind {
  const char* name;
  VerifyRule rule;
  int children;
  bool replacement = false, chosen = false;
  Mistake mistake = Mistake::none;
};

// After the text, after each first token, after each second one.
struct Place {
  std::vector<float> logits, weights;
  double total = 0;
  double law(int token) const { return weights[static_cast<size_t>(token)] / total; }
};
std::vector<Place> places(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Place> all(1 + vocab + vocab * vocab);
  for (Place& place : all)
    for (int i = 0; i < vocab; ++i) {
      place.logits.push_back(static_cast<float>(static_cast<int>(random() % 13) - 6) / 4);
      place.weights.push_back(std::exp(place.logits.back()));
      place.total += place.weights.back();
    }
  return all;
}
size_t after(size_t place, int token) {
  return 1 + place * vocab + static_cast<size_t>(token);
}

const std::vector<Place> target = places(1), drafter = places(2);

// Drafts behind all of these places, verified together: what was said behind each.
std::vector<std::vector<int>> verified(const Kind& kind, const std::vector<size_t>& begins, int levels,
                                       uint64_t& seed) {
  std::vector<std::unique_ptr<Sampler>> samplers;
  std::vector<Walk> walks(begins.size());
  std::vector<Proposal> proposals(begins.size());
  std::vector<Drawer> drawers;
  std::vector<float> logits, weights;
  std::vector<VerifyWalk> heads;
  std::vector<VerifyNode> nodes;
  std::vector<int32_t> ids, drawn;
  std::vector<LawHead> laws;
  bool blocks = false, others = false;
  for (size_t w = 0; w < begins.size(); ++w) {
    SamplerOptions options;
    options.vocab = vocab;
    options.seed = ++seed;
    samplers.push_back(std::make_unique<Sampler>(options));
    Walk& walk = walks[w];
    Proposal& proposal = proposals[w];
    walk.tokens = {0};
    walk.parents = {-1};
    walk.options.rule = kind.rule;
    walk.proposal = kind.chosen ? nullptr : &proposal;
    walk.output = static_cast<int64_t>(drawers.size());
    proposal.replacement = kind.replacement;
    std::vector<size_t> at = {begins[w]};
    for (size_t row = 0, end = 1, level = 0; level < static_cast<size_t>(levels); ++level, end = at.size())
      for (; row < end; ++row) {
        const Place& q = drafter[at[row]];
        std::vector<double> open(q.weights.begin(), q.weights.end());
        if (kind.mistake == Mistake::whole_law) *std::max_element(open.begin(), open.end()) = 0;
        std::vector<int32_t> own;
        for (int child = 0; child < kind.children; ++child) {
          int token = static_cast<int>(std::max_element(open.begin(), open.end()) - open.begin());
          if (!kind.chosen) token = std::discrete_distribution<int>(open.begin(), open.end())(generator);
          own.push_back(token);
          if (!kind.replacement) open[static_cast<size_t>(token)] = 0;
        }
        if (kind.mistake == Mistake::dropped && q.law(own[0]) < 0.2) own.clear();
        for (const int32_t token : own)
          if (walk.child(static_cast<int32_t>(row), token) < 0) {
            walk.tokens.push_back(token);
            walk.parents.push_back(static_cast<int32_t>(row));
            at.push_back(after(at[row], token));
          }
        const Place& said = drafter[kind.mistake == Mistake::other_row ? at[row] + 1 : at[row]];
        proposal.nodes.push_back({StoredLaw({0, 1, 2, 3, 4}, said.weights), own});
      }
    proposal.nodes.resize(walk.tokens.size());
    const bool block = kind.rule == VerifyRule::block && is_drawn_chain(walk);
    (block ? blocks : others) = true;
    heads.push_back({1, 0, 0, static_cast<int32_t>(walk.output), static_cast<int32_t>(walk.rows()),
                     static_cast<int32_t>(nodes.size()), proposal.replacement ? 1 : 0,
                     block ? rule_block : rule_ratio});
    for (size_t row = 0; row < at.size(); ++row) {
      std::vector<int32_t> path;
      if (row > 0) {
        path = drawers[static_cast<size_t>(walk.output) + static_cast<size_t>(walk.parents[row])].path;
        path.push_back(walk.tokens[row]);
      }
      drawers.push_back({samplers.back().get(), path});
      logits.insert(logits.end(), target[at[row]].logits.begin(), target[at[row]].logits.end());
      const Proposal::Node& node = proposal.nodes[row];
      const Law law = node.law.view();
      nodes.push_back({{},
                       walk.parents[row],
                       walk.tokens[row],
                       static_cast<int32_t>(drawn.size()),
                       static_cast<int32_t>(node.drawn.size())});
      drawn.insert(drawn.end(), node.drawn.begin(), node.drawn.end());
      laws.push_back({law.total, static_cast<int32_t>(kind.chosen ? 0 : law.count), 0});
      for (int i = 0; i < vocab; ++i) {
        ids.push_back(i);
        weights.push_back(law.count > 0 ? law.weights[i] : 0);
      }
    }
  }
  drawn.push_back(0);
  const DeviceArray<LawHead> device_laws(laws);
  const DeviceArray<int32_t> device_ids(ids), device_drawn(drawn);
  const DeviceArray<float> device_weights(weights);
  for (size_t i = 0; i < nodes.size(); ++i)
    if (laws[i].count > 0)
      nodes[i].law = {device_laws.get() + i, device_ids.get() + i * vocab, device_weights.get() + i * vocab};
  const DeviceArray<VerifyWalk> device_walks(heads);
  const DeviceArray<VerifyNode> device_nodes(nodes);
  const DeviceArray<double> residuals(std::vector<double>(begins.size() * vocab, NAN));
  const VerifyLists lists = {device_walks.get(), device_nodes.get(), device_drawn.get()};
  const auto count = static_cast<int>(begins.size());
  // Drafts that are matched are no walks there: the host goes along the tokens that were drawn for every row.
  const bool matches = kind.rule == VerifyRule::match || kind.chosen;
  const std::vector<GreedyChoice> got = draw(logits, vocab, vocab, rows_of(drawers, vocab), [&](const SampleRun& run) {
    if (!matches) verify_walks(run, lists, count, blocks, others, residuals.get(), nullptr);
  });
  std::vector<std::vector<int>> said;
  for (const Walk& walk : walks) {
    said.emplace_back();
    for (int32_t row = 0; row >= 0; row = walk.child(row, said.back().back()))
      said.back().push_back(got[static_cast<size_t>(walk.output + row)].token);
  }
  return said;
}

double statistic(const Kind& kind, int count) {
  std::vector<double> found(vocab * vocab);
  uint64_t seed = 0;
  for (int done = 0, now = 0; done < count; done += now) {
    now = std::min(together, count - done);
    std::vector<std::vector<int>> said = verified(kind, std::vector<size_t>(static_cast<size_t>(now), 0), 2, seed);
    std::vector<size_t> begins, which;
    for (size_t i = 0; i < said.size(); ++i)
      if (said[i].size() < 2) {
        begins.push_back(after(0, said[i][0]));
        which.push_back(i);
      }
    const std::vector<std::vector<int>> more = verified(kind, begins, 1, seed);
    for (size_t i = 0; i < which.size(); ++i) said[which[i]].push_back(more[i][0]);
    for (const std::vector<int>& answer : said) ++found[static_cast<size_t>(answer[0] * vocab + answer[1])];
  }
  double sum = 0;
  for (int a = 0; a < vocab; ++a)
    for (int b = 0; b < vocab; ++b) {
      const double expected = count * target[0].law(a) * target[after(0, a)].law(b);
      sum += std::pow(found[static_cast<size_t>(a * vocab + b)] - expected, 2) / expected;
    }
  return sum;
}

}  // namespace

void card_laws() {
  const Kind kinds[] = {
      {"the law of a chosen tree, by match", VerifyRule::match, 2, false, true},
      {"the law of a drawn chain, by ratio", VerifyRule::ratio, 1},
      {"the law of a drawn chain, by block", VerifyRule::block, 1},
      {"the law of a tree without replacement, by ratio", VerifyRule::ratio, 2},
      {"the law of a tree with replacement, by ratio", VerifyRule::ratio, 2, true},
  };
  // P(χ² of 24 degrees > 60) is below 1e-4.
  for (const Kind& kind : kinds) {
    const double found = statistic(kind, finds_mistakes ? drafts : drafts / 10);
    report(kind.name, found < 60, std::to_string(found));
  }
  const Kind mistakes[] = {
      {"another row's law is found", VerifyRule::ratio, 1, false, false, Mistake::other_row},
      {"a whole law of truncated draws is found", VerifyRule::ratio, 1, false, false, Mistake::whole_law},
      {"a dropped token is found", VerifyRule::ratio, 1, false, false, Mistake::dropped},
  };
  for (const Kind& kind : mistakes) {
    if (!finds_mistakes) break;
    const double found = statistic(kind, mistaken);
    report(kind.name, found > 60, std::to_string(found));
  }
}

}  // namespace vivace::cuda
