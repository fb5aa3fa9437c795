// Draws and verification on the card against the host's: the same tokens for the same options, seeds and texts.
#include "cuda/decode/sample.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>

#include "cuda/decode/verify.h"
#include "decode/sample.h"
#include "decode/verify/verify.h"
#include "test/cuda/decode.h"
#include "test/cuda/report.h"

namespace vivace::cuda {
namespace {

std::mt19937 generator(23);
int below(int count) {
  return static_cast<int>(generator() % static_cast<unsigned>(count));
}
double unit() {
  return static_cast<double>(generator()) / 4294967296.0;
}

// Whose draw a row is, after which tokens of an answer that are not in its text yet.
struct Drawer {
  Sampler* sampler = nullptr;
  std::vector<int32_t> path = {};
};

// Rows that are drawn together: what the host's sampler knows, as kernels want it.
struct Rows {
  std::vector<DrawRow> draws;
  std::vector<int32_t> bias_tokens, seen;
  std::vector<float> biases;
  std::vector<uint32_t> times;
  int rooms = 0;
};

Rows rows_of(const std::vector<Drawer>& drawers, int vocab) {
  Rows rows;
  for (const auto& [sampler, path] : drawers) {
    DrawRow row{};
    row.room = -1;
    if (sampler == nullptr) {
      rows.draws.push_back(row);
      continue;
    }
    DrawState state;
    sampler->describe(state, path);
    const SamplerOptions& o = *state.options;
    row.flags = draw_here | (o.temperature > 0 ? draw_random : 0);
    row.vocab = std::min(static_cast<int32_t>(o.vocab), vocab);
    row.scale = o.temperature > 0 ? static_cast<float>(1 / std::max(o.temperature, 1e-30)) : 0;
    row.repetition = static_cast<float>(o.repetition_penalty);
    row.presence = o.presence_penalty;
    row.frequency = o.frequency_penalty;
    row.top_p = o.top_p;
    row.min_p = o.min_p;
    row.typical_p = o.typical_p;
    row.seed = o.seed;
    row.index = state.index;
    row.top_k = o.top_k < row.vocab ? static_cast<int32_t>(o.top_k) : 0;
    if (row.top_k > 0 || o.top_p < 1 || o.min_p > 0 || o.typical_p < 1) row.room = rows.rooms++;
    row.bias_begin = static_cast<int32_t>(rows.biases.size());
    row.bias_count = static_cast<int32_t>(state.biases.size());
    row.seen_begin = static_cast<int32_t>(rows.seen.size());
    row.seen_count = static_cast<int32_t>(state.seen.size());
    if (row.bias_count > 0 || row.seen_count > 0) row.flags |= draw_adjusted;
    rows.bias_tokens.insert(rows.bias_tokens.end(), state.bias_tokens.begin(), state.bias_tokens.end());
    rows.biases.insert(rows.biases.end(), state.biases.begin(), state.biases.end());
    rows.seen.insert(rows.seen.end(), state.seen.begin(), state.seen.end());
    rows.times.insert(rows.times.end(), state.times.begin(), state.times.end());
    rows.draws.push_back(row);
  }
  return rows;
}

// `after` may go on with what the kernels have left.
std::vector<GreedyChoice> draw(
    const std::vector<float>& logits, int stride, int vocab, const Rows& rows,
    const std::function<void(const SampleRun&)>& after = [](const SampleRun&) {}) {
  const size_t count = rows.draws.size(), blocks = count * static_cast<size_t>(sample_blocks_of(vocab));
  const size_t lists = std::max<size_t>(1, static_cast<size_t>(rows.rooms) * static_cast<size_t>(vocab));
  const auto some = [](auto list) {
    list.resize(std::max<size_t>(1, list.size()));
    return list;
  };
  DeviceArray<float> x(logits), biases(some(rows.biases)), old_biased(some(rows.biases)),
      old_seen(some(std::vector<float>(rows.seen.size()))), maxima(std::vector<float>(blocks, NAN)),
      sums(std::vector<float>(blocks, NAN)), weights(std::vector<float>(lists, NAN)),
      scores(std::vector<float>(lists, NAN));
  DeviceArray<int32_t> bias_tokens(some(rows.bias_tokens)), seen(some(rows.seen)),
      ids(std::vector<int32_t>(lists, 1 << 30)),
      counts(std::vector<int32_t>(static_cast<size_t>(std::max(1, rows.rooms)), 1 << 30));
  DeviceArray<uint32_t> times(some(rows.times));
  DeviceArray<DrawRow> draws(rows.draws);
  DeviceArray<GreedyPart> parts(
      std::vector<GreedyPart>(count * static_cast<size_t>(greedy_parts_of(vocab)), {NAN, 77, NAN, 77}));
  DeviceArray<GreedyChoice> again(std::vector<GreedyChoice>(count, {77, NAN, 77})),
      choices(std::vector<GreedyChoice>(count, {77, NAN, 77}));
  DeviceArray<double> totals(std::vector<double>(count, NAN));
  DeviceArray<unsigned long long> words(
      std::vector<unsigned long long>(static_cast<size_t>(std::max(1, rows.rooms)) * select_words, 77));
  SampleRun run;
  run.logits = x.get();
  run.stride = stride;
  run.rows = static_cast<int>(count);
  run.vocab = vocab;
  run.draws = draws.get();
  run.lists = {bias_tokens.get(), biases.get(), seen.get(), times.get(), old_biased.get(), old_seen.get()};
  for (const DrawRow& row : rows.draws) {
    run.adjusts = run.adjusts || (row.flags & draw_adjusted) != 0;
    run.draws_random = run.draws_random || (row.flags & draw_random) != 0;
  }
  run.room = {parts.get(),   again.get(),  totals.get(), maxima.get(), sums.get(),
              weights.get(), scores.get(), ids.get(),    counts.get(), words.get()};
  run.choices = choices.get();
  choose_tokens(run, nullptr);
  after(run);
  check(cudaDeviceSynchronize(), "synchronize");
  return choices.values();
}

SamplerOptions options_for(int kind, int vocab) {
  SamplerOptions options;
  const auto sometimes = [](double share) { return unit() < share; };
  options.vocab = sometimes(0.3) ? std::max(1, vocab - 5) : vocab;
  options.seed = static_cast<uint64_t>(generator()) << 32 | generator();
  options.temperature = sometimes(0.1) ? 0 : 2 * unit() + 0.01;
  if (kind == 1 || sometimes(0.4)) options.top_k = 1 + below(120);
  if (kind == 2 || sometimes(0.4)) options.top_p = unit() + 1e-9;
  if (kind == 3 || sometimes(0.3)) options.min_p = 0.3 * unit();
  if (kind == 4 || sometimes(0.2)) options.typical_p = unit() + 1e-9;
  if (kind == 5) options.temperature = 1e-40;
  if (kind == 6) {
    options = {};
    options.vocab = vocab;
    options.temperature = 0.8;
    options.seed = generator();
  }
  if (sometimes(0.3)) options.repetition_penalty = 1 + unit();
  if (sometimes(0.3)) options.presence_penalty = unit();
  if (sometimes(0.3)) options.frequency_penalty = unit();
  if (sometimes(0.3)) options.logit_bias = {{below(vocab), 2.5f}, {below(vocab), -INFINITY}, {vocab + 7, 1.0f}};
  if (options.logit_bias.size() > 1 && options.logit_bias[0].first == options.logit_bias[1].first)
    options.logit_bias.pop_back();
  return options;
}

void same_tokens(const char* name, std::vector<int> vocabularies, int rounds, double spread) {
  int wrong = 0;
  std::string why;
  for (const int vocab : vocabularies)
    for (int round = 0; round < rounds; ++round) {
      constexpr int rows = 4;
      const int stride = vocab + 3;
      std::vector<std::unique_ptr<Sampler>> samplers;
      std::vector<Drawer> drawn;
      for (int r = 0; r < rows; ++r) {
        samplers.push_back(std::make_unique<Sampler>(options_for(below(8), vocab)));
        std::vector<int32_t> prompt;
        for (int i = 0; i < 9; ++i) prompt.push_back(below(vocab));
        samplers.back()->accept(prompt.data(), 9);
        drawn.push_back({r == 2 && round % 3 == 0 ? nullptr : samplers.back().get()});
      }
      for (int step = 0; step < 3; ++step) {
        std::vector<float> logits(static_cast<size_t>(rows * stride), NAN);
        std::normal_distribution<double> normal;
        for (int r = 0; r < rows; ++r)
          for (int i = 0; i < vocab; ++i) {
            double x = spread * unit() < 0.3 ? below(5) - 2 : spread * normal(generator);
            if (i > 0 && unit() < 0.05) x = -INFINITY;
            logits[static_cast<size_t>(r * stride + i)] = static_cast<float>(x);
          }
        if (step == 2)
          logits[static_cast<size_t>(below(rows) * stride + below(vocab))] = below(2) != 0 ? NAN : INFINITY;
        const std::vector<GreedyChoice> got = draw(logits, stride, vocab, rows_of(drawn, vocab));
        for (int r = 0; r < rows; ++r) {
          const GreedyChoice& choice = got[static_cast<size_t>(r)];
          if (drawn[static_cast<size_t>(r)].sampler == nullptr) {
            wrong += choice.token != -1 || choice.error != 0;
            continue;
          }
          SampleResult wanted;
          drawn[static_cast<size_t>(r)].sampler->sample(logits.data() + r * stride, vocab, wanted);
          const bool same = choice.error == static_cast<int>(wanted.error) && choice.token == wanted.token &&
                            (choice.error != 0 || std::abs(choice.logprob - wanted.logprob) < 1e-5);
          if (!same) {
            ++wrong;
            why = "vocab " + std::to_string(vocab) + " round " + std::to_string(round) + " row " + std::to_string(r) +
                  ": " + std::to_string(choice.token) + " error " + std::to_string(choice.error) + " instead of " +
                  std::to_string(wanted.token) + " error " + std::to_string(static_cast<int>(wanted.error)) +
                  ", logprobs " + std::to_string(choice.logprob) + " " + std::to_string(wanted.logprob);
          }
          if (wanted.error == SampleError::none) drawn[static_cast<size_t>(r)].sampler->accept(&wanted.token, 1);
        }
      }
    }
  report(name, wrong == 0, std::to_string(wrong) + " wrong, " + why);
}

// Some of the tokens with weights more or less like the target's, and children drawn from them.
Proposal::Node node_for(const float* logits, int vocab, int children, bool replacement, double most_noise) {
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
  if (below(8) != 0) node.law = StoredLaw(std::move(ids), std::move(weights));
  return node;
}

// A draft of up to `limit` rows, the root included, with logits in `rows`.
void grow(Walk& walk, Proposal& proposal, const float* rows, int stride, int vocab, int limit, int widest,
          double noise) {
  proposal.replacement = below(2) != 0;
  walk.tokens = {below(vocab)};
  walk.parents = {-1};
  for (int row = 0; row < walk.rows(); ++row) {
    Proposal::Node node = node_for(rows + row * stride, vocab, 1 + below(widest), proposal.replacement, noise);
    std::vector<int32_t> drawn;
    for (const int32_t token : node.drawn) {
      if (walk.child(row, token) >= 0) {
        drawn.push_back(token);
      } else if (walk.rows() < limit) {
        walk.tokens.push_back(token);
        walk.parents.push_back(row);
        drawn.push_back(token);
      }
    }
    node.drawn = drawn;
    proposal.nodes.push_back(std::move(node));
  }
}

void same_verdicts(const char* name, const std::vector<int>& vocabularies, int rounds, int widest, double noise) {
  int wrong = 0, kept = 0, refused = 0;
  for (const int vocab : vocabularies)
    for (int round = 0; round < rounds; ++round) {
      constexpr int count = 3, limit = 9;
      std::vector<float> logits(static_cast<size_t>(count * limit * vocab));
      std::normal_distribution<double> normal;
      for (float& x : logits) x = static_cast<float>(unit() < 0.05 ? -60.0 : 2 * normal(generator));
      std::vector<std::unique_ptr<Sampler>> samplers;
      std::vector<Proposal> proposals(count);
      std::vector<Walk> walks(count);
      std::vector<Drawer> drawers = {{}};  // a row that nobody draws from goes before
      std::vector<float> given(static_cast<size_t>(vocab), NAN);
      VerifyLists lists;
      std::vector<VerifyWalk> heads;
      std::vector<VerifyNode> nodes;
      std::vector<int32_t> ids = {0}, drawn = {0};
      std::vector<float> weights = {0};
      for (size_t w = 0; w < count; ++w) {
        Walk& walk = walks[w];
        float* own = logits.data() + static_cast<int64_t>(w) * limit * vocab;
        SamplerOptions options = options_for(below(7), vocab);
        if (options.temperature > 0) options.temperature = 0.7 + 0.6 * unit();
        samplers.push_back(std::make_unique<Sampler>(options));
        std::vector<int32_t> text;
        for (int i = 0; i < 5; ++i) text.push_back(below(vocab));
        samplers.back()->accept(text.data(), 5);
        grow(walk, proposals[w], own, vocab, vocab, limit, widest, noise);
        if (below(6) == 0) own[below(static_cast<int>(walk.rows())) * vocab + below(vocab)] = NAN;
        walk.sampler = samplers.back().get();
        walk.options.rule = VerifyRule::ratio;
        walk.proposal = &proposals[w];
        walk.cycle = 1 + static_cast<uint64_t>(below(1000));
        walk.output = static_cast<int64_t>(drawers.size());
        heads.push_back({walk.cycle, static_cast<int32_t>(walk.output), static_cast<int32_t>(walk.rows()),
                         static_cast<int32_t>(nodes.size()), proposals[w].replacement ? 1 : 0});
        for (size_t row = 0; row < walk.tokens.size(); ++row) {
          std::vector<int32_t> path;
          if (row > 0) {
            path = drawers[static_cast<size_t>(walk.output) + static_cast<size_t>(walk.parents[row])].path;
            path.push_back(walk.tokens[row]);
          }
          drawers.push_back({walk.sampler, path});
          const Law law = proposals[w].nodes[row].law.view();
          const std::vector<int32_t>& children = proposals[w].nodes[row].drawn;
          nodes.push_back({law.total, walk.parents[row], walk.tokens[row], static_cast<int32_t>(ids.size()),
                           static_cast<int32_t>(law.count), static_cast<int32_t>(drawn.size()),
                           static_cast<int32_t>(children.size())});
          ids.insert(ids.end(), law.ids, law.ids + law.count);
          weights.insert(weights.end(), law.weights, law.weights + law.count);
          drawn.insert(drawn.end(), children.begin(), children.end());
        }
        given.insert(given.end(), own, own + walk.rows() * vocab);
      }
      const DeviceArray<VerifyWalk> device_walks(heads);
      const DeviceArray<VerifyNode> device_nodes(nodes);
      const DeviceArray<int32_t> device_ids(ids), device_drawn(drawn);
      const DeviceArray<float> device_weights(weights);
      const DeviceArray<double> residuals(std::vector<double>(static_cast<size_t>(count * vocab), NAN));
      lists = {device_walks.get(), device_nodes.get(), device_ids.get(), device_weights.get(), device_drawn.get()};
      const std::vector<GreedyChoice> got =
          draw(given, vocab, vocab, rows_of(drawers, vocab),
               [&](const SampleRun& run) { verify_walks(run, lists, count, residuals.get(), nullptr); });
      wrong += got[0].token != -1 || got[0].error != 0;
      for (size_t w = 0; w < count; ++w) {
        Walk& walk = walks[w];
        std::vector<SampleResult> wanted(walk.tokens.size());
        std::vector<std::vector<TokenLogprob>> top(walk.tokens.size());
        verify(walk, logits.data() + static_cast<int64_t>(w) * limit * vocab, vocab, wanted.data(), top.data());
        for (size_t row = 0; row < wanted.size(); ++row) {
          const GreedyChoice& choice = got[static_cast<size_t>(walk.output) + row];
          wrong += choice.token != wanted[row].token || choice.error != static_cast<int>(wanted[row].error);
          if (wanted[row].token >= 0) wrong += !(std::abs(choice.logprob - wanted[row].logprob) < 2e-5);
        }
        kept += static_cast<int>(walk.kept.size()) - 1;
        refused += walk.kept.size() == 1 ? 1 : 0;
      }
    }
  const bool enough = kept > 20 && refused > 5;
  report(name, wrong == 0 && enough,
         std::to_string(wrong) + " wrong, " + std::to_string(kept) + " kept, " + std::to_string(refused) + " refused");
}

}  // namespace

void sampling() {
  same_tokens("draws of small vocabularies are the host's", {1, 2, 31, 64, 65, 200, 700}, 14, 4);
  same_tokens("draws of a large vocabulary are the host's", {5003, 20000}, 5, 3);
  same_tokens("draws of flat rows are the host's", {3000, 9001}, 6, 0.8);
  same_verdicts("verdicts on chains are the host's", {2, 31, 65, 300, 5003}, 8, 1, 3);
  same_verdicts("verdicts on trees are the host's", {3, 31, 65, 300, 5003}, 8, 3, 3);
  same_verdicts("verdicts on children that are often refused are the host's", {4, 9, 17}, 90, 6, 9);
}

}  // namespace vivace::cuda
