// The parts of the program that tries the kernels of decoding, and what they share: rows that the host and the card
// draw from.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda/decode/sample.h"
#include "decode/sample.h"
#include "test/cuda/report.h"

namespace vivace::cuda {

void sampling();
void verification();
void card_laws();

namespace trial {

inline std::mt19937 generator(23);
inline int below(int count) {
  return static_cast<int>(generator() % static_cast<unsigned>(count));
}
inline double unit() {
  return static_cast<double>(generator()) / 4294967296.0;
}

// Whose draw a row is, after which tokens of an answer that are not in its text yet, and which tokens are allowed.
struct Drawer {
  Sampler* sampler = nullptr;
  std::vector<int32_t> path = {};
  std::vector<uint32_t> allowed = {};  // empty: all
};

// Bits of about half of the tokens, now and then of none.
inline std::vector<uint32_t> some_allowed(int vocab) {
  std::vector<uint32_t> words(static_cast<size_t>((vocab + 31) / 32));
  for (uint32_t& word : words) word = below(30) == 0 ? 0 : static_cast<uint32_t>(generator());
  return words;
}

// Rows that are drawn together: what the host's sampler knows, as kernels want it.
struct Rows {
  std::vector<DrawRow> draws;
  std::vector<int32_t> bias_tokens, seen;
  std::vector<float> biases;
  std::vector<uint32_t> times, allowed;
  int rooms = 0, reports = 0, tops = 0;
};

inline Rows rows_of(const std::vector<Drawer>& drawers, int vocab) {
  Rows rows;
  for (const auto& [sampler, path, allowed] : drawers) {
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
    if (!allowed.empty()) row.flags |= draw_adjusted | draw_limited;
    row.allowed_begin = static_cast<int32_t>(rows.allowed.size());
    rows.allowed.insert(rows.allowed.end(), allowed.begin(), allowed.end());
    rows.bias_tokens.insert(rows.bias_tokens.end(), state.bias_tokens.begin(), state.bias_tokens.end());
    rows.biases.insert(rows.biases.end(), state.biases.begin(), state.biases.end());
    rows.seen.insert(rows.seen.end(), state.seen.begin(), state.seen.end());
    rows.times.insert(rows.times.end(), state.times.begin(), state.times.end());
    row.top_count = std::min(o.top_logprobs, row.vocab);
    row.top_begin = rows.tops;
    rows.tops += row.top_count;
    if (row.top_count > 0) row.top_room = rows.reports++;
    rows.draws.push_back(row);
  }
  return rows;
}

// `before` may add to what kernels are told, `after` may go on with what they have left.
inline std::vector<GreedyChoice> draw(
    const std::vector<float>& logits, int stride, int vocab, const Rows& rows,
    const std::function<void(const SampleRun&)>& after = [](const SampleRun&) {}, std::vector<TopToken>* top = nullptr,
    const std::function<void(SampleRun&)>& before = [](SampleRun&) {}) {
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
  DeviceArray<uint32_t> times(some(rows.times)), allowed(some(rows.allowed));
  DeviceArray<DrawRow> draws(rows.draws);
  DeviceArray<GreedyPart> parts(
      std::vector<GreedyPart>(count * static_cast<size_t>(greedy_parts_of(vocab)), {NAN, 77, NAN, 77}));
  DeviceArray<GreedyChoice> again(std::vector<GreedyChoice>(count, {77, NAN, 77})),
      choices(std::vector<GreedyChoice>(count, {77, NAN, 77}));
  DeviceArray<double> totals(std::vector<double>(count, NAN));
  DeviceArray<unsigned long long> words(
      std::vector<unsigned long long>(static_cast<size_t>(std::max(1, rows.rooms)) * select_words, 77)),
      top_words(std::vector<unsigned long long>(static_cast<size_t>(std::max(1, rows.reports)) * select_words, 77)),
      top_keys(std::vector<unsigned long long>(static_cast<size_t>(std::max(1, rows.tops)), 77));
  DeviceArray<TopToken> tops(std::vector<TopToken>(static_cast<size_t>(std::max(1, rows.tops)), {77, NAN}));
  SampleRun run;
  run.logits = x.get();
  run.stride = stride;
  run.rows = static_cast<int>(count);
  run.vocab = vocab;
  run.draws = draws.get();
  run.lists = {bias_tokens.get(), biases.get(),   seen.get(),   times.get(),
               old_biased.get(),  old_seen.get(), allowed.get()};
  for (const DrawRow& row : rows.draws) {
    run.adjusts = run.adjusts || (row.flags & draw_adjusted) != 0;
    run.draws_random = run.draws_random || (row.flags & draw_random) != 0;
    run.limits = run.limits || (row.flags & draw_limited) != 0;
    run.ranks = run.ranks || (row.flags & draw_ranked) != 0;
    run.reports = run.reports || (row.top_count > 0 && (row.flags & draw_ranked) == 0);
    run.keeps = run.keeps || row.law.head != nullptr;
  }
  run.room = {parts.get(),  again.get(), totals.get(), maxima.get(), sums.get(),      weights.get(),
              scores.get(), ids.get(),   counts.get(), words.get(),  top_words.get(), top_keys.get()};
  run.tops = tops.get();
  run.choices = choices.get();
  before(run);
  choose_tokens(run, nullptr);
  after(run);
  check(cudaDeviceSynchronize(), "synchronize");
  if (top != nullptr) *top = tops.values();
  return choices.values();
}

inline SamplerOptions options_for(int kind, int vocab) {
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
  if (sometimes(0.3)) options.top_logprobs = 1 + below(sometimes(0.2) ? 400 : 8);
  if (sometimes(0.3)) options.repetition_penalty = 1 + unit();
  if (sometimes(0.3)) options.presence_penalty = unit();
  if (sometimes(0.3)) options.frequency_penalty = unit();
  if (sometimes(0.3)) options.logit_bias = {{below(vocab), 2.5f}, {below(vocab), -INFINITY}, {vocab + 7, 1.0f}};
  if (options.logit_bias.size() > 1 && options.logit_bias[0].first == options.logit_bias[1].first)
    options.logit_bias.pop_back();
  return options;
}

}  // namespace trial
}  // namespace vivace::cuda
