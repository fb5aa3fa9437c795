#include "decode/draft/draft_seat.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <numeric>
#include <utility>

namespace vivace {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

}  // namespace

std::vector<int> paying(const std::vector<Bid>& bids, size_t sequences, const std::vector<double>& costs,
                        size_t fixed) {
  std::vector<int> taken(bids.size(), 0);
  size_t all = 0;
  for (size_t i = 0; i < bids.size(); ++i) {
    if (costs.empty()) taken[i] = static_cast<int>(bids[i].scores->size());
    all += bids[i].scores->size();
  }
  if (costs.empty()) return taken;
  const size_t known = costs.size() < 2 + fixed ? 0 : costs.size() - 2 - fixed;
  // What the next token of a chain gives, and its score, for those that give the same.
  const auto gain = [&](size_t bid) {
    const auto score = static_cast<double>((*bids[bid].scores)[static_cast<size_t>(taken[bid])]);
    return std::pair{std::min(1.0, bids[bid].calibration * score), score};
  };
  std::vector<int> best = taken;
  auto tokens = static_cast<double>(sequences);
  double rate = tokens / std::abs(costs[std::min(1 + fixed, costs.size() - 1)]);
  for (size_t i = 0; i < std::min(all, known); ++i) {
    // The chain whose next token gives most.
    size_t next = bids.size();
    for (size_t bid = 0; bid < bids.size(); ++bid) {
      if (taken[bid] >= static_cast<int>(bids[bid].scores->size())) continue;
      if (next == bids.size() || gain(bid) > gain(next)) next = bid;
    }
    tokens += gain(next).first;
    ++taken[next];
    const double own = tokens / std::abs(costs[i + 2 + fixed]);
    if (own <= rate) continue;
    rate = own;
    best = taken;
  }
  return best;
}

std::vector<int32_t> DraftSeat::kept(const Draws& draws) const {
  for (const Walk& walk : draws.walks)
    if (walk.output == output) return walk.kept;
  return {static_cast<int32_t>(rows) - 1};
}

bool DraftSeat::hear(const Draws& draws, const std::vector<float>& features) {
  said.clear();
  draft_ms = 0;
  bool sound = true;
  for (const int32_t row : kept(draws)) {
    const SampleResult& result = draws.drawn.results[static_cast<size_t>(output + row)];
    sound = sound && result.error == SampleError::none;
    if (sound) said.push_back(result.token);
  }
  left -= static_cast<int64_t>(said.size());
  cycle += static_cast<uint64_t>(said.size());
  if (drafter && !drafter->broken && !said.empty()) {
    Drafter& own = *drafter->drafter;
    const Clock::time_point begin = Clock::now();
    try {
      if (probes > 0) {
        std::vector<int32_t> probed;
        for (int64_t i = output + rows; i < output + outputs(); ++i) {
          const SampleResult& result = draws.drawn.results[static_cast<size_t>(i)];
          probed.push_back(result.error == SampleError::none ? result.token : -1);
        }
        own.probed(probed.data(), probes);
      }
      if (own.width() > 0) own.hear(features.data(), static_cast<int64_t>(features.size()) / own.width());
      own.accept(said.data(), static_cast<int64_t>(said.size()));
    } catch (const std::exception&) {
      drafter->broken = true;
      return false;
    }
    draft_ms = since(begin);
  }
  return sound && left > 0 && !(drafter && drafter->broken);
}

void DraftSeat::took(double ms, size_t drafted, size_t count) {
  constexpr double trifle = 0.05, newest = 0.1;  // as lib/decode/speculation/planner.ts has them
  const size_t own = 1 + drafted;
  if (own < costs.size() && costs[own] < 0) costs[own] = std::max(ms - draft_ms, 1e-6);
  if (rows + probe_rows < 2 && draft_ms <= trifle * ms) return;
  const double weight = tried_.rounds++ == 0 ? 1 : newest;
  tried_.tokens += weight * (static_cast<double>(count) - tried_.tokens);
  tried_.ms += weight * (ms - tried_.ms);
}

bool DraftSeat::has_lost() const {
  constexpr int trials = 4;
  return is_open() && costs.size() > 1 && costs[1] > 0 && tried_.rounds >= trials &&
         tried_.tokens * costs[1] < tried_.ms;
}

DraftSize DraftSeat::wanted() const {
  if (!drafter || drafter->broken) return {};
  const auto left_over = static_cast<int>(std::clamp<int64_t>(left - 1, 0, most.nodes));
  const int tokens = std::min(most.tokens, left_over);
  return {tokens, most.is_tree() ? left_over : tokens};
}

bool DraftSeat::fits(int64_t room) const {
  const DraftSize size = wanted();
  return size.tokens < 1 || (room >= size.nodes + drafter->drafter->probe_rows() && drafter->drafter->fits(size));
}

// Scores are at most their parents', so that a node never comes before its parent.
void DraftSeat::rank() {
  order_.resize(draft_.tokens.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto score = [this](int32_t node) { return draft_.scores[static_cast<size_t>(node)]; };
  std::stable_sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) { return score(a) > score(b); });
  ranked_.clear();
  for (const int32_t node : order_) ranked_.push_back(score(node));
}

// The best ones behind the row that is there, in the draft's order.
void DraftSeat::take(int count, Branches& rows) {
  order_.resize(static_cast<size_t>(count));
  std::sort(order_.begin(), order_.end());
  std::vector<int32_t> places(draft_.tokens.size(), -1), depths(static_cast<size_t>(count) + 1, 0);
  rows.parents = {-1};
  bool is_chain = true;
  depth = 0;
  for (const int32_t index : order_) {
    const auto node = static_cast<size_t>(index);
    const auto place = static_cast<int32_t>(rows.tokens.size());
    const int32_t above = draft_.parents[node];
    const int32_t parent = above < 0 ? 0 : places[static_cast<size_t>(above)];
    is_chain = is_chain && parent + 1 == place;
    depths[static_cast<size_t>(place)] = depths[static_cast<size_t>(parent)] + 1;
    depth = std::max(depth, depths[static_cast<size_t>(place)]);
    places[node] = place;
    hoped += static_cast<double>(draft_.scores[node]);
    rows.tokens.push_back(draft_.tokens[node]);
    rows.parents.push_back(parent);
  }
  if (is_chain) rows.parents.clear();
}

void draft_next(std::vector<DraftSeat>& seats, std::vector<Branches>& next) {
  std::vector<DraftAsk> asks(seats.size());
  next.resize(seats.size());
  for (size_t i = 0; i < seats.size(); ++i) {
    DraftSeat& seat = seats[i];
    seat.hoped = 0;
    seat.depth = 0;
    seat.proposal_ = nullptr;
    next[i] = {{seat.said.back()}, {}, nullptr};
    const DraftSize most = seat.wanted();
    if (most.tokens < 1) continue;
    asks[i] = {seat.drafter->drafter.get(), most, &seat.draft_};
    asks[i].drafter->set_terms({seat.cycle, &seat.costs, seat.calibration});
  }
  std::vector<DraftAsk> together;
  std::vector<size_t> drafted;  // seats
  for (size_t first = 0; first < seats.size(); ++first) {
    if (asks[first].drafter == nullptr) continue;
    const void* const group = asks[first].drafter->group();
    together.clear();
    std::vector<size_t> owners;
    for (size_t i = first; i < seats.size(); ++i) {
      if (asks[i].drafter == nullptr || (i > first && (group == nullptr || asks[i].drafter->group() != group)))
        continue;
      together.push_back(asks[i]);
      owners.push_back(i);
      asks[i].drafter = nullptr;
    }
    const Clock::time_point begin = Clock::now();
    bool sound = true;
    try {
      together.front().drafter->draft_together(together);
    } catch (const std::exception&) {
      sound = false;  // whoever asks next hears of it
    }
    const double ms = since(begin);
    for (const size_t i : owners) {
      DraftSeat& seat = seats[i];
      seat.drafter->broken = !sound;
      if (!sound) continue;
      seat.proposal_ = seat.drafter->drafter->proposal();
      seat.draft_ms += ms;
      drafted.push_back(i);
    }
  }
  // What was drawn must be shown to the verifier, all of it, or the law changes; of the rest the tokens that pay.
  std::vector<Bid> bids;
  const std::vector<double>* costs = nullptr;
  size_t fixed = 0;
  for (const size_t i : drafted) {
    DraftSeat& seat = seats[i];
    seat.rank();
    if (seat.prober != nullptr) next[i].probe = seat.drafter->drafter->probe();
    if (next[i].probe != nullptr) fixed += next[i].probe->tokens.size();
    if (!seat.is_open()) {
      fixed += static_cast<size_t>(seat.draft_.size());
      continue;
    }
    bids.push_back({&seat.ranked_, seat.calibration});
    if (costs == nullptr || seat.costs.size() > costs->size()) costs = &seat.costs;
  }
  std::vector<int> counts;
  if (costs != nullptr) counts = paying(bids, seats.size(), *costs, fixed);
  size_t bid = 0;
  for (const size_t i : drafted) {
    DraftSeat& seat = seats[i];
    seat.take(seat.is_open() ? counts[bid++] : seat.draft_.size(), next[i]);
  }
}

void DraftSeat::sit(const Branches& next, Draws& draws, int64_t first_row) {
  output = static_cast<int64_t>(draws.samplers.size());
  rows = static_cast<int64_t>(next.tokens.size());
  probes = next.probe == nullptr ? 0 : next.probe->outputs;
  probe_rows = next.probe == nullptr ? 0 : static_cast<int64_t>(next.probe->tokens.size());
  draws.samplers.resize(draws.samplers.size() + next.tokens.size(), nullptr);
  if (rows == 1) draws.samplers.back() = sampler;
  draws.samplers.resize(draws.samplers.size() + static_cast<size_t>(probes), prober);
  if (rows == 1) return;
  Walk walk;
  walk.sampler = sampler;
  walk.output = output;
  walk.tokens = next.tokens;
  walk.parents = next.parents;
  for (auto i = static_cast<int32_t>(walk.parents.size()); i < static_cast<int32_t>(rows); ++i)
    walk.parents.push_back(i - 1);
  walk.options = options;
  walk.proposal = proposal_;
  walk.cycle = cycle;
  if (judge.head.weights != nullptr) {
    walk.judge = judge.head;
    walk.judge.first_row = first_row;
    walk.judge.guarded.assign(walk.tokens.size(), 0);
    for (size_t row = 1; row < walk.tokens.size(); ++row) {
      const auto token = static_cast<size_t>(walk.tokens[row]);
      walk.judge.guarded[row] = token < judge.guarded.size() && judge.guarded[token] ? 1 : 0;
    }
  }
  draws.walks.push_back(std::move(walk));
}

}  // namespace vivace
