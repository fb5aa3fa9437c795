#include "decode/draft/input_copy_drafter.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace vivace {

InputCopyDrafter::InputCopyDrafter(InputCopyOptions options)
    : options_(std::move(options)), index_(options_.min_gram, options_.max_gram, true) {
  if (options_.input) set_input(std::move(*options_.input));
}

void InputCopyDrafter::set_input(std::vector<int32_t> input) {
  index_ = NGramIndex(options_.min_gram, options_.max_gram, true);
  input_.clear();
  input_.reserve(input.size());
  for (const int32_t token : input) {
    append_text(input_, &token, 1);
    index_.push(input_);
  }
}

InputCopyDrafter::Place InputCopyDrafter::follow() const {
  const int32_t expected = places_.empty() ? 0 : places_.back().next;
  Place uncertain{std::min(expected + 1, static_cast<int32_t>(input_.size())), false};
  const auto length = static_cast<int64_t>(output_.size());
  // Where the copy has got to is as good as the only place, if the last tokens say so, too.
  uncertain.certain =
      expected < static_cast<int64_t>(input_.size()) && matched(length, expected + 1) >= options_.min_gram;
  for (int g = options_.min_gram; g <= options_.max_gram; ++g) {
    if (length < g) return uncertain;
    const int32_t end = index_.find(g, output_.data() + output_.size() - 1, input_);
    if (end < 0) return uncertain;
    if (index_.before(g, end) < 0) return {end + 1, true};
  }
  return uncertain;
}

void InputCopyDrafter::judge(int sign) {
  const int64_t last = static_cast<int64_t>(output_.size()) - 1;
  const Place before = last == 0 ? Place{0, true} : places_[static_cast<size_t>(last) - 1];
  if (!before.certain || before.next >= static_cast<int64_t>(input_.size())) return;
  odds_.judge(matched(last, before.next), input_[static_cast<size_t>(before.next)] == output_.back(), sign);
}

void InputCopyDrafter::accept(const int32_t* tokens, int64_t count) {
  if (count == 0) return;
  if (!prompt_known_) {
    append_text(prompt_, tokens, count);
    if (!options_.input) set_input(prompt_);
    prompt_known_ = true;
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    append_text(output_, tokens + i, 1);
    judge(1);
    places_.push_back(follow());
  }
}

void InputCopyDrafter::truncate(int64_t length) {
  const int64_t prompt = static_cast<int64_t>(prompt_.size());
  while (!output_.empty() && prompt + static_cast<int64_t>(output_.size()) > length) {
    places_.pop_back();
    judge(-1);
    output_.pop_back();
  }
  if (length >= prompt) return;
  prompt_.resize(static_cast<size_t>(std::max<int64_t>(0, length)));
  prompt_known_ = false;
}

// Places after the occurrences of the longest n-gram, the likeliest first.
void InputCopyDrafter::find_candidates(int branches) {
  constexpr int most_looked_at = 256;
  candidates_.clear();
  const int32_t size = static_cast<int32_t>(input_.size());
  const Place now = place();
  if (now.certain) {
    if (now.next < size) candidates_.push_back(now.next);
    return;
  }
  const int g = options_.max_gram;
  if (branches < 2 || static_cast<int64_t>(output_.size()) < g) return;
  int looked_at = 0;
  for (int32_t end = index_.find(g, output_.data() + output_.size() - 1, input_);
       end >= 0 && looked_at < most_looked_at; end = index_.before(g, end), ++looked_at)
    if (end + 1 < size) candidates_.push_back(end + 1);
  const auto nearer = [&](int32_t a, int32_t b) {
    const int64_t first = std::abs(int64_t{a} - now.next), second = std::abs(int64_t{b} - now.next);
    return first != second ? first < second : a < b;
  };
  const size_t kept = std::min(candidates_.size(), static_cast<size_t>(branches));
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<int64_t>(kept), candidates_.end(), nearer);
  candidates_.resize(kept);
}

void InputCopyDrafter::draft(int max_tokens, int max_nodes, Draft& out) {
  tree_.clear();
  if (prompt_known_)
    find_candidates(options_.branches);
  else
    candidates_.clear();
  for (const int32_t candidate : candidates_) {
    const int64_t same = matched(static_cast<int64_t>(output_.size()), candidate);
    const int length = std::min({max_tokens, max_nodes, std::max(options_.first_draft, static_cast<int>(2 * same))});
    double weight = odds_.of(same) / static_cast<double>(candidates_.size());
    int node = 0;
    for (int depth = 0; depth < length && candidate + depth < static_cast<int64_t>(input_.size());
         ++depth, weight *= odds_.of(same + depth))
      node = tree_.add(node, input_[static_cast<size_t>(candidate + depth)], weight);
  }
  tree_.emit(max_tokens, max_nodes, out);
}

int64_t InputCopyDrafter::bytes() const {
  const size_t tokens = input_.capacity() + prompt_.capacity() + output_.capacity();
  return index_.bytes() + static_cast<int64_t>(tokens * sizeof(int32_t) + places_.capacity() * sizeof(Place));
}

}  // namespace vivace
