#include "decode/draft/draft_seat.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
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

bool DraftSeat::hear(const Draws& draws) {
  said.clear();
  draft_ms = 0;
  const Walk* own = nullptr;
  for (const Walk& walk : draws.walks)
    if (walk.output == output) own = &walk;
  const auto take = [&](int64_t row) {
    const SampleResult& result = draws.drawn.results[static_cast<size_t>(output + row)];
    if (result.error != SampleError::none) return false;
    said.push_back(result.token);
    return true;
  };
  bool sound = true;
  if (own == nullptr)
    sound = take(rows - 1);
  else
    for (const int32_t row : own->kept) sound = sound && take(row);
  left -= static_cast<int64_t>(said.size());
  cycle += static_cast<uint64_t>(said.size());
  if (drafter && !drafter->broken && !said.empty()) {
    const Clock::time_point begin = Clock::now();
    try {
      drafter->drafter->accept(said.data(), static_cast<int64_t>(said.size()));
    } catch (const std::exception&) {
      drafter->broken = true;
      return false;
    }
    draft_ms = since(begin);
  }
  return sound && left > 0 && !(drafter && drafter->broken);
}

void DraftSeat::took(double ms, size_t drafted) {
  const size_t own = 1 + drafted;
  if (own < costs.size() && costs[own] < 0) costs[own] = std::max(ms - draft_ms, 1e-6);
}

bool DraftSeat::longest(int64_t room, int& most_tokens) const {
  const int64_t wanted = drafter && !drafter->broken ? std::max(int64_t{0}, std::min(int64_t{most}, left - 1)) : 0;
  most_tokens = static_cast<int>(std::max(int64_t{0}, std::min(wanted, room)));
  if (most_tokens > 0) most_tokens = static_cast<int>(std::min<int64_t>(most_tokens, drafter->drafter->room()));
  return most_tokens == wanted;
}

void draft_next(std::vector<DraftSeat>& seats, const std::vector<int64_t>& rooms,
                std::vector<std::vector<int32_t>>& tokens) {
  std::vector<DraftAsk> asks(seats.size());
  tokens.resize(seats.size());
  for (size_t i = 0; i < seats.size(); ++i) {
    DraftSeat& seat = seats[i];
    seat.hoped = 0;
    seat.proposal_ = nullptr;
    tokens[i] = {seat.said.back()};
    int most = 0;
    seat.longest(rooms[i], most);
    if (most < 1) continue;
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
    const DraftSeat& seat = seats[i];
    if (!seat.is_open()) {
      fixed += static_cast<size_t>(seat.draft_.size());
      continue;
    }
    bids.push_back({&seat.draft_.scores, seat.calibration});
    if (costs == nullptr || seat.costs.size() > costs->size()) costs = &seat.costs;
  }
  std::vector<int> counts;
  if (costs != nullptr) counts = paying(bids, seats.size(), *costs, fixed);
  size_t bid = 0;
  for (const size_t i : drafted) {
    DraftSeat& seat = seats[i];
    const int count = seat.is_open() ? counts[bid++] : seat.draft_.size();
    for (int node = 0; node < count; ++node)
      seat.hoped += static_cast<double>(seat.draft_.scores[static_cast<size_t>(node)]);
    tokens[i].insert(tokens[i].end(), seat.draft_.tokens.begin(), seat.draft_.tokens.begin() + count);
  }
}

void DraftSeat::sit(const std::vector<int32_t>& tokens, Draws& draws) {
  output = static_cast<int64_t>(draws.samplers.size());
  rows = static_cast<int64_t>(tokens.size());
  draws.samplers.resize(draws.samplers.size() + tokens.size(), nullptr);
  if (rows == 1) {
    draws.samplers.back() = sampler;
    return;
  }
  Walk walk;
  walk.sampler = sampler;
  walk.output = output;
  walk.tokens = tokens;
  for (int32_t i = 0; i < static_cast<int32_t>(rows); ++i) walk.parents.push_back(i - 1);
  walk.options = options;
  walk.proposal = proposal_;
  walk.cycle = cycle;
  draws.walks.push_back(std::move(walk));
}

}  // namespace vivace
