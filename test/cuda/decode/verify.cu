// Verification on the card against the host's: the same tokens stay and the same ones follow, by every rule.
#include "cuda/decode/verify/verify.h"

#include "decode/verify/residual.h"
#include "decode/verify/verify.h"
#include "test/cuda/decode/decode.h"

namespace vivace::cuda {
namespace {

using namespace trial;

// Some of the tokens with weights more or less like the target's, and children drawn from them. One in `lawless` of
// them have no law: their children were chosen. `foreign`: now and then the child is no token of the target's.
Proposal::Node node_for(const float* logits, int vocab, int children, bool replacement, double most_noise, int lawless,
                        bool foreign) {
  std::vector<int32_t> ids;
  std::vector<float> weights;
  const float peak = *std::max_element(logits, logits + vocab);
  const double share = below(3) != 0 ? 1.0 : unit(), noise = most_noise * unit();
  for (int i = 0; i < vocab; ++i) {
    if (unit() > share && logits[i] < peak) continue;
    ids.push_back(i);
    weights.push_back(static_cast<float>(std::exp(logits[i] - peak + noise * (unit() - 0.5))));
  }
  Proposal::Node node;
  for (int child = 0; child < children; ++child) {
    std::vector<double> open(weights.begin(), weights.end());
    for (size_t i = 0; i < ids.size() && !replacement; ++i)
      if (std::find(node.drawn.begin(), node.drawn.end(), ids[i]) != node.drawn.end()) open[i] = 0;
    if (*std::max_element(open.begin(), open.end()) <= 0) break;
    node.drawn.push_back(
        ids[static_cast<size_t>(std::discrete_distribution<int>(open.begin(), open.end())(generator))]);
  }
  if (foreign && below(5) == 0 && static_cast<int>(ids.size()) + 1 != vocab) {  // as many would be all tokens
    ids.push_back(vocab);
    weights.push_back(1);
    node.drawn = {vocab};
  }
  if (below(lawless) != 0) node.law = StoredLaw(std::move(ids), std::move(weights));
  return node;
}

// A draft of up to `limit` rows, the root included, with logits in `rows`.
void grow(Walk& walk, Proposal& proposal, const float* rows, int stride, int vocab, int limit, int widest, double noise,
          int lawless, bool foreign) {
  proposal.replacement = below(2) != 0;
  walk.tokens = {below(vocab)};
  walk.parents = {-1};
  for (int row = 0; row < walk.rows(); ++row) {
    Proposal::Node node =
        node_for(rows + row * stride, vocab, 1 + below(widest), proposal.replacement, noise, lawless, foreign);
    std::vector<int32_t> drawn;
    for (const int32_t token : node.drawn) {
      if (walk.child(row, token) >= 0) {
        drawn.push_back(token);
      } else if (walk.rows() < limit) {
        walk.tokens.push_back(token < vocab ? token : below(vocab));
        walk.parents.push_back(row);
        drawn.push_back(token);
      }
    }
    node.drawn = drawn;
    proposal.nodes.push_back(std::move(node));
  }
}

VerifyOptions options_of(VerifyRule rule) {
  if (rule == VerifyRule::typical) return {rule, 0.3 * unit(), 0.6 * unit()};
  if (rule == VerifyRule::relaxed) return {rule, 1.0 + below(4), 0.4 * unit()};
  if (rule == VerifyRule::divergence) {
    const int measure = below(3);
    return {rule, (measure == static_cast<int>(Measure::jensen_shannon) ? 0.4 : 2.0) * unit(), 1.0 * measure};
  }
  return {rule, 0, 0};
}

// What a draft may have beyond its rule.
constexpr int with_bans = 1, with_readings = 2, with_judge = 4;
constexpr int head_width = 37;

// Second readings of some rows, of one row in four two.
void read_again(Walk& walk) {
  walk.reflection.alpha = below(4) == 0 ? 0.0 : below(3) == 0 ? 1.0 : unit();
  walk.reflection.corrects = below(2) != 0;
  for (int times = 0; times < 2; ++times)
    for (int32_t row = 0; row < walk.rows(); ++row)
      if (unit() < (times == 0 ? 0.7 : 0.25)) walk.reflection.rows.push_back(row);
}

void same_verdicts(const char* name, VerifyRule rule, const std::vector<int>& vocabularies, int rounds, int widest,
                   double noise, int beyond = 0) {
  int wrong = 0, kept = 0, refused = 0, errors = 0, judged_rows = 0, changed_rows = 0;
  for (const int vocab : vocabularies)
    for (int round = 0; round < rounds; ++round) {
      constexpr int count = 3, limit = 9, most = 3 * limit;
      std::vector<float> logits(static_cast<size_t>(count * most * vocab));
      std::vector<float> hidden(static_cast<size_t>(count * limit * head_width)), head(head_width);
      for (float& x : hidden) x = static_cast<float>(unit() - 0.5);
      for (float& x : head) x = static_cast<float>(unit() - 0.5);
      const DeviceArray<float> device_hidden(hidden), device_head(head);
      std::vector<JudgeRow> judged;
      std::vector<MixRow> mixes;
      std::vector<int32_t> readings = {0};
      std::normal_distribution<double> normal;
      for (float& x : logits) x = static_cast<float>(unit() < 0.05 ? -60.0 : 2 * normal(generator));
      std::vector<std::unique_ptr<Sampler>> samplers;
      std::vector<Proposal> proposals(count);
      std::vector<Walk> walks(count);
      std::vector<Drawer> drawers = {{}};  // a row that nobody draws from goes before
      std::vector<float> given(static_cast<size_t>(vocab), NAN);
      std::vector<VerifyWalk> heads;
      std::vector<VerifyNode> nodes;
      std::vector<int32_t> ids = {0}, drawn = {0};
      std::vector<float> weights = {0};
      std::vector<LawHead> laws = {{NAN, 0, 0}};
      std::vector<size_t> begins = {0};
      bool blocks = false, others = false;
      for (size_t w = 0; w < count; ++w) {
        Walk& walk = walks[w];
        float* own = logits.data() + static_cast<int64_t>(w) * most * vocab;
        SamplerOptions options = options_for(below(7), vocab);
        if (options.temperature > 0) options.temperature = 0.7 + 0.6 * unit();
        samplers.push_back(std::make_unique<Sampler>(options));
        std::vector<int32_t> text;
        for (int i = 0; i < 5; ++i) text.push_back(below(vocab));
        samplers.back()->accept(text.data(), 5);
        grow(walk, proposals[w], own, vocab, vocab, limit, widest, noise, rule == VerifyRule::block ? 60 : 8,
             rule == VerifyRule::block);
        if ((beyond & with_readings) != 0 && below(4) != 0) read_again(walk);
        const bool mixes_some = walk.reflection.alpha > 0;
        if (below(6) == 0 && walk.reflection.alpha < 1)
          own[below(static_cast<int>(walk.rows())) * vocab + below(vocab)] = NAN;
        if ((beyond & with_judge) != 0 && below(4) != 0) {
          walk.judge = {head.data(), head_width, 0.1f, 0.6 * (unit() - 0.5), {}, below(3)};
          walk.judge.hidden = hidden.data() + w * limit * head_width;
          for (int64_t row = 0; row < walk.rows(); ++row) walk.judge.guarded.push_back(below(6) == 0 ? 1 : 0);
        }
        for (int64_t row = 0; (beyond & with_bans) != 0 && row < walk.rows(); ++row)
          walk.masks.push_back(below(2) != 0 ? some_allowed(vocab) : std::vector<uint32_t>());
        walk.sampler = samplers.back().get();
        walk.options = options_of(rule);
        walk.proposal = &proposals[w];
        walk.cycle = 1 + static_cast<uint64_t>(below(1000));
        walk.output = static_cast<int64_t>(drawers.size());
        auto card_rule = static_cast<int32_t>(rule);
        const bool judges = walk.judge.weights != nullptr;
        if (rule == VerifyRule::block && (judges || !is_drawn_chain(walk))) card_rule = rule_ratio;
        (card_rule == rule_block ? blocks : others) = true;
        heads.push_back({walk.cycle, walk.options.first, walk.options.second, static_cast<int32_t>(walk.output),
                         static_cast<int32_t>(walk.rows()), static_cast<int32_t>(nodes.size()),
                         proposals[w].replacement ? 1 : 0, card_rule, walk.reflection.corrects ? 1 : 0, judges ? 1 : 0,
                         walk.judge.longest, walk.judge.bound});
        for (size_t row = 0; row < walk.tokens.size(); ++row) {
          std::vector<int32_t> path;
          if (row > 0) {
            path = drawers[static_cast<size_t>(walk.output) + static_cast<size_t>(walk.parents[row])].path;
            path.push_back(walk.tokens[row]);
          }
          drawers.push_back({walk.sampler, path, walk.masks.empty() ? std::vector<uint32_t>() : walk.masks[row]});
          judged.push_back(judges ? JudgeRow{device_hidden.get() + (w * limit + row) * head_width, device_head.get(),
                                             head_width, walk.judge.bias, walk.judge.guarded[row]}
                                  : JudgeRow{});
          const Law law = proposals[w].nodes[row].law.view();
          const std::vector<int32_t>& children = proposals[w].nodes[row].drawn;
          nodes.push_back({{},
                           walk.parents[row],
                           walk.tokens[row],
                           static_cast<int32_t>(drawn.size()),
                           static_cast<int32_t>(children.size())});
          const std::vector<int32_t>& again = walk.reflection.rows;
          MixRow mix = {static_cast<int32_t>(walk.output + static_cast<int64_t>(row)),
                        static_cast<int32_t>(readings.size()), 0, static_cast<float>(walk.reflection.alpha),
                        static_cast<float>(1 - walk.reflection.alpha)};
          for (size_t i = 0; mixes_some && i < again.size(); ++i) {
            if (again[i] != static_cast<int32_t>(row)) continue;
            readings.push_back(static_cast<int32_t>(walk.outputs() - walk.reflection.rows.size() + i + walk.output));
            ++mix.count;
          }
          if (mix.count > 0) {
            nodes.back().mix = static_cast<int32_t>(mixes.size());
            mixes.push_back(mix);
          }
          laws.push_back({law.total, static_cast<int32_t>(law.count), law.count == vocab ? 1 : 0});
          begins.push_back(ids.size());
          // Those of all tokens need no ids.
          ids.insert(ids.end(), law.ids, law.ids + law.count);
          if (law.count == vocab) std::fill(ids.end() - law.count, ids.end(), 1 << 30);
          weights.insert(weights.end(), law.weights, law.weights + law.count);
          drawn.insert(drawn.end(), children.begin(), children.end());
        }
        // The first reading of a row is drawn from as the row is.
        const std::vector<int32_t>& again = walk.reflection.rows;
        for (size_t i = 0; i < again.size(); ++i) {
          const auto here = again.begin() + static_cast<int64_t>(i);
          const bool first = mixes_some && std::find(again.begin(), here, again[i]) == here;
          drawers.push_back(first ? drawers[static_cast<size_t>(walk.output) + static_cast<size_t>(again[i])]
                                  : Drawer{});
        }
        given.insert(given.end(), own, own + walk.outputs() * vocab);
      }
      const DeviceArray<LawHead> device_laws(laws);
      const DeviceArray<int32_t> device_ids(ids), device_drawn(drawn);
      const DeviceArray<float> device_weights(weights);
      for (size_t i = 0; i < nodes.size(); ++i)
        if (laws[i + 1].count > 0)
          nodes[i].law = {device_laws.get() + i + 1, device_ids.get() + begins[i + 1],
                          device_weights.get() + begins[i + 1]};
      const DeviceArray<VerifyWalk> device_walks(heads);
      const DeviceArray<VerifyNode> device_nodes(nodes);
      const DeviceArray<double> residuals(std::vector<double>(static_cast<size_t>(count * vocab), NAN));
      VerifyLists lists = {device_walks.get(), device_nodes.get(), device_drawn.get()};
      const DeviceArray<JudgeRow> device_judged(judged);
      const DeviceArray<float> scores(std::vector<float>(nodes.size(), NAN));
      const DeviceArray<JudgedPath> paths(std::vector<JudgedPath>(nodes.size(), {77, 77, 77, 77, NAN}));
      if ((beyond & with_judge) != 0)
        lists = {lists.walks,
                 lists.nodes,
                 lists.drawn,
                 device_judged.get(),
                 scores.get(),
                 paths.get(),
                 static_cast<int>(nodes.size())};
      const int mixed = static_cast<int>(mixes.size());
      mixes.push_back({});
      const DeviceArray<MixRow> device_mixes(mixes);
      const DeviceArray<int32_t> device_readings(readings), changed(std::vector<int32_t>(mixes.size(), 77));
      const std::vector<GreedyChoice> got = draw(
          given, vocab, vocab, rows_of(drawers, vocab),
          [&](const SampleRun& run) { verify_walks(run, lists, count, blocks, others, residuals.get(), nullptr); },
          nullptr,
          [&](SampleRun& run) {
            run.mixes = {device_mixes.get(), device_readings.get(), changed.get(), mixed};
          });
      wrong += got[0].token != -1 || got[0].error != 0;
      for (size_t w = 0; w < count; ++w) {
        Walk& walk = walks[w];
        std::vector<SampleResult> wanted(walk.tokens.size());
        std::vector<std::vector<TokenLogprob>> top(walk.tokens.size());
        verify(walk, logits.data() + static_cast<int64_t>(w) * most * vocab, vocab, wanted.data(), top.data());
        std::vector<int32_t> judged_here, changed_here, changed_there;
        for (const int32_t row : walk.kept) {
          const GreedyChoice& choice = got[static_cast<size_t>(walk.output + row)];
          const int32_t next = walk.child(row, choice.token);
          if ((choice.marks & mark_judged) != 0 && next > 0) judged_here.push_back(next);
          if ((choice.marks & mark_changed) != 0 && choice.error == 0) changed_here.push_back(row);
        }
        for (const int32_t row : walk.changed)
          if (wanted[static_cast<size_t>(row)].error == SampleError::none) changed_there.push_back(row);
        wrong += judged_here != walk.judged;
        wrong += changed_here != changed_there;
        judged_rows += static_cast<int>(walk.judged.size());
        changed_rows += static_cast<int>(walk.changed.size());
        for (size_t row = 0; row < wanted.size(); ++row) {
          const GreedyChoice& choice = got[static_cast<size_t>(walk.output) + row];
          const bool either = (beyond & with_bans) != 0 && choice.error > 0 && wanted[row].error != SampleError::none;
          wrong +=
              choice.token != wanted[row].token || (choice.error != static_cast<int>(wanted[row].error) && !either);
          errors += wanted[row].error != SampleError::none ? 1 : 0;
          if (wanted[row].token >= 0) wrong += !(std::abs(choice.logprob - wanted[row].logprob) < 2e-5);
        }
        kept += static_cast<int>(walk.kept.size()) - 1;
        refused += walk.kept.size() == 1 ? 1 : 0;
      }
    }
  const bool enough = beyond == 0 ? kept > 20 && refused > 5 && errors > 0
                                  : kept > 5 && ((beyond & with_judge) == 0 || judged_rows > 1 || rounds < 5) &&
                                        ((beyond & with_readings) == 0 || changed_rows > 1 || rounds < 5);
  report(name, wrong == 0 && enough,
         std::to_string(wrong) + " wrong, " + std::to_string(kept) + " kept, " + std::to_string(refused) + " refused");
}

}  // namespace

void verification() {
#if defined(__SANITIZE_ADDRESS__)
  const int large = 1203, rounds = 2, many = 30;  // 10 times as slow
#else
  const int large = 5003, rounds = 5, many = 90;
#endif
  const std::vector<int> several = {2, 31, 65, 300, large};
  same_verdicts("verdicts on chains are the host's", VerifyRule::ratio, several, 8, 1, 3);
  same_verdicts("verdicts on trees are the host's", VerifyRule::ratio, several, 8, 3, 3);
  same_verdicts("verdicts on children that are often refused are the host's", VerifyRule::ratio, {4, 9, 17}, many, 6,
                9);
  same_verdicts("verdicts on chains as a whole are the host's", VerifyRule::block, several, 16, 1, 3);
  same_verdicts("verdicts on chains that are often refused are the host's", VerifyRule::block, {4, 9, 17}, many, 1, 9);
  same_verdicts("verdicts by entropy are the host's", VerifyRule::typical, several, 10, 3, 3);
  same_verdicts("verdicts by rank are the host's", VerifyRule::relaxed, several, 10, 3, 3);
  const std::vector<int> few = {3, 17, 150};
  const VerifyRule rules[] = {VerifyRule::match, VerifyRule::ratio, VerifyRule::block, VerifyRule::typical,
                              VerifyRule::relaxed};
  const char* const names[] = {"match", "ratio", "block", "typical", "relaxed"};
  const std::pair<int, const char*> all[] = {{with_readings, "with second readings"},
                                             {with_judge, "with judges"},
                                             {with_bans | with_readings | with_judge, "with all of them"}};
  for (const auto& [beyond, what] : all)
    for (int i = 0; i < 5; ++i) {
      const std::string name = std::string("verdicts by ") + names[i] + " " + what + " are the host's";
      same_verdicts(name.c_str(), rules[i], few, rounds, rules[i] == VerifyRule::block ? 1 : 3, 3, beyond);
    }
  same_verdicts("verdicts by the laws' divergence are the host's", VerifyRule::divergence, several, 16, 2, 3);
  same_verdicts("verdicts by the laws' divergence with all of them are the host's", VerifyRule::divergence, few,
                2 * rounds, 2, 3, with_bans | with_readings | with_judge);
}

}  // namespace vivace::cuda
