#include "decode/draft/draft_seat.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>

namespace vivace {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

}  // namespace

int paying(const std::vector<float>& scores, const std::vector<double>& costs, double calibration) {
  const size_t most = std::min(scores.size(), costs.size() < 2 ? size_t{0} : costs.size() - 2);
  if (costs.empty()) return static_cast<int>(scores.size());
  int best = 0;
  double tokens = 1, rate = costs.size() > 1 ? 1 / costs[1] : 0;
  for (size_t i = 0; i < most; ++i) {
    tokens += std::min(1.0, calibration * static_cast<double>(scores[i]));
    const double own = tokens / std::abs(costs[i + 2]);
    if (own <= rate) continue;
    rate = own;
    best = static_cast<int>(i) + 1;
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

void DraftSeat::took(double ms) {
  const auto own = static_cast<size_t>(rows);
  if (own < costs.size() && costs[own] < 0) costs[own] = std::max(ms - draft_ms, 1e-6);
}

bool DraftSeat::longest(int64_t room, int& most_tokens) const {
  const int64_t wanted = drafter && !drafter->broken ? std::max(int64_t{0}, std::min(int64_t{most}, left - 1)) : 0;
  most_tokens = static_cast<int>(std::max(int64_t{0}, std::min(wanted, room)));
  if (most_tokens > 0) most_tokens = static_cast<int>(std::min<int64_t>(most_tokens, drafter->drafter->room()));
  return most_tokens == wanted;
}

// The draft's tokens that pay. What was drawn must be shown to the verifier, all of it, or the law changes.
std::vector<int32_t> DraftSeat::cut() {
  proposal_ = drafter->drafter->proposal();
  const int count = proposal_ != nullptr ? draft_.size() : paying(draft_.scores, costs, calibration);
  hoped = 0;
  for (int i = 0; i < count; ++i) hoped += static_cast<double>(draft_.scores[static_cast<size_t>(i)]);
  return {draft_.tokens.begin(), draft_.tokens.begin() + count};
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
      const std::vector<int32_t> drafted = seat.cut();
      tokens[i].insert(tokens[i].end(), drafted.begin(), drafted.end());
      seat.draft_ms += ms;
    }
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
