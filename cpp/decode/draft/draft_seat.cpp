#include "decode/draft/draft_seat.h"

#include <algorithm>
#include <chrono>
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
    const double own = tokens / costs[i + 2];
    if (own <= rate) continue;
    rate = own;
    best = static_cast<int>(i) + 1;
  }
  return best;
}

bool DraftSeat::hear(const Draws& draws) {
  said.clear();
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

std::vector<int32_t> DraftSeat::next(int64_t room) {
  std::vector<int32_t> tokens = {said.back()};
  hoped = 0;
  if (!drafter) return tokens;
  const int64_t longest = std::min({int64_t{most}, left - 1, room});
  if (longest < 1) return tokens;
  const Clock::time_point begin = Clock::now();
  try {
    drafter->drafter->draft(static_cast<int>(longest), static_cast<int>(longest), draft_);
  } catch (const std::exception&) {
    drafter->broken = true;  // whoever asks next hears of it
    return tokens;
  }
  const int count = paying(draft_.scores, costs, calibration);
  for (int i = 0; i < count; ++i) hoped += static_cast<double>(draft_.scores[static_cast<size_t>(i)]);
  tokens.insert(tokens.end(), draft_.tokens.begin(), draft_.tokens.begin() + count);
  draft_ms += since(begin);
  return tokens;
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
  walk.cycle = cycle++;
  draws.walks.push_back(std::move(walk));
}

}  // namespace vivace
