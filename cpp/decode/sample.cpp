#include "decode/sample.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <type_traits>

#include "core/isa.h"
#include "decode/philox.h"
#include "decode/sample_kernel.h"
#include "decode/select.h"
#include "decode/truncate_kernel.h"

namespace vivace {
namespace {

constexpr uint32_t seen = 1, generated_once = 2;
// A block of a list takes about 8 times as long as a block of the passes over all, which have a start of their own.
constexpr int64_t listed_cost = 8, many_blocks = 32;

int64_t blocks_of(int64_t count) {
  return (count + sample_block - 1) / sample_block;
}

const SampleKernel& choose_kernel() {
  switch (best_isa()) {
#if defined(VIVACE_HAS_AVX2)
    case Isa::avx2:
      return avx2::sample_kernel;
#endif
#if defined(VIVACE_HAS_AVX512)
    case Isa::avx512:
      return avx512::sample_kernel;
#endif
#if defined(VIVACE_HAS_NEON)
    case Isa::neon:
      return neon::sample_kernel;
#endif
#if defined(VIVACE_HAS_I8MM)
    case Isa::i8mm:
      return i8mm::sample_kernel;
#endif
    default:
      return baseline::sample_kernel;
  }
}

}  // namespace

const SampleKernel& sample_kernel() {
  static const SampleKernel& chosen = choose_kernel();
  return chosen;
}

const char* describe(SampleError error) {
  switch (error) {
    case SampleError::not_a_number:
      return "The model's logits contain NaN";
    case SampleError::infinite:
      return "The model's logits contain +infinity";
    case SampleError::nothing_left:
      return "Every token has probability 0 (all logits are -infinity, or logitBias or the constraint bans every "
             "token)";
    case SampleError::disposed:
      return "The sampler was disposed";
    case SampleError::none:
      break;
  }
  return "No error";
}

Sampler::Sampler(SamplerOptions options) : options_(std::move(options)) {
  const auto vocab = static_cast<size_t>(options_.vocab);
  const auto blocks = static_cast<size_t>(blocks_of(options_.vocab));
  maxima_.resize(blocks);
  const SamplerOptions& o = options_;
  if (o.repetition_penalty != 1 || o.presence_penalty != 0 || o.frequency_penalty != 0) history_.resize(vocab);
  saved_.reserve(o.logit_bias.size());
  if (o.temperature > 0) {
    weights_.resize(vocab);
    sums_.resize(blocks);
    if (truncates()) masses_.resize(Buckets::masses);
    if (o.typical_p < 1) scores_.resize(vocab);
  }
  if ((o.temperature > 0 && truncates()) || o.top_logprobs > 0) make_room_to_rank();
  top_.resize(static_cast<size_t>(std::min<int64_t>(o.top_logprobs, o.vocab)));
}

void Sampler::make_room_to_rank() {
  ids_.resize(static_cast<size_t>(options_.vocab) + 1);
  keys_.resize(static_cast<size_t>(options_.vocab));
}

bool Sampler::truncates() const {
  return (options_.top_k > 0 && options_.top_k < options_.vocab) || options_.top_p < 1 || options_.min_p > 0 ||
         options_.typical_p < 1;
}

void Sampler::accept(const int32_t* tokens, int64_t count) {
  std::lock_guard lock(mutex_);
  add(tokens, count);
  if (!drawn_) prompted_ = touched_.size();
}

bool Sampler::describe(DrawState& state, const std::vector<int32_t>& path) {
  std::lock_guard lock(mutex_);
  state.options = &options_;
  state.index = generated_ + path.size();
  state.bias_tokens.clear();
  state.biases.clear();
  for (const auto& [token, bias] : options_.logit_bias) {
    state.bias_tokens.push_back(token);
    state.biases.push_back(bias);
  }
  state.seen = touched_;
  state.times.clear();
  for (const int32_t token : touched_) state.times.push_back(history_[static_cast<size_t>(token)] / generated_once);
  if (history_.empty()) return !released_;
  for (const int32_t token : path) {
    if (token < 0 || token >= options_.vocab) continue;
    const size_t at = static_cast<size_t>(std::find(state.seen.begin(), state.seen.end(), token) - state.seen.begin());
    if (at == state.seen.size()) {
      state.seen.push_back(token);
      state.times.push_back(0);
    }
    ++state.times[at];
  }
  return !released_;
}

void Sampler::drew(int32_t token) {
  std::lock_guard lock(mutex_);
  drawn_ = true;
  add(&token, 1);
}

void Sampler::looked() {
  std::lock_guard lock(mutex_);
  drawn_ = true;
}

void Sampler::add(const int32_t* tokens, int64_t count) {
  if (drawn_) generated_ += static_cast<uint64_t>(count);
  if (history_.empty()) return;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t token = tokens[i];
    if (token < 0 || token >= options_.vocab) continue;
    uint32_t& entry = history_[static_cast<size_t>(token)];
    if (entry == 0) {
      touched_.push_back(token);
      saved_.reserve(options_.logit_bias.size() + touched_.capacity());  // so that sample() does not allocate
    }
    entry |= seen;
    if (drawn_ && entry < 0xFFFFFFF0u) entry += generated_once;
  }
}

void Sampler::limit_to(const uint32_t* allowed) {
  std::lock_guard lock(mutex_);
  allowed_ = allowed;
}

void Sampler::retract(const int32_t* tokens, int64_t count) {
  std::lock_guard lock(mutex_);
  if (drawn_) generated_ -= static_cast<uint64_t>(count);
  if (history_.empty()) return;
  for (int64_t i = count - 1; i >= 0; --i) {
    const int32_t token = tokens[i];
    if (token < 0 || token >= options_.vocab) continue;
    uint32_t& entry = history_[static_cast<size_t>(token)];
    if (drawn_ && entry >= generated_once) entry -= generated_once;
    // The last one touched is the last one new: it was not in the prompt either.
    if (entry / generated_once == 0 && !touched_.empty() && touched_.back() == token && touched_.size() > prompted_) {
      entry = 0;
      touched_.pop_back();
    }
  }
}

void Sampler::release() {
  std::lock_guard lock(mutex_);
  released_ = true;
  auto drop = [](auto& vector) { std::remove_reference_t<decltype(vector)>().swap(vector); };
  drop(history_);
  drop(touched_);
  drop(saved_);
  drop(whole_);
  drop(maxima_);
  drop(weights_);
  drop(scores_);
  drop(sums_);
  drop(masses_);
  drop(ids_);
  drop(keys_);
  drop(top_);
}

// In place, a few values of the many; restore() undoes it.
SampleError Sampler::adjust(float* logits, int64_t vocab) {
  bool nan = false, infinite = false;
  if (allowed_ != nullptr) whole_.assign(logits, logits + vocab);
  const auto set = [&](int32_t token, float value) {
    const float old = logits[token];
    nan |= old != old;
    infinite |= old == std::numeric_limits<float>::infinity();
    saved_.emplace_back(token, old);
    logits[token] = value;
  };
  for (const auto& [token, bias] : options_.logit_bias)
    if (token >= 0 && token < vocab) set(token, logits[token] + bias);
  const auto repetition = static_cast<float>(options_.repetition_penalty);
  for (const int32_t token : touched_) {
    if (token >= vocab) continue;
    float value = logits[token];
    value = value > 0 ? value / repetition : value * repetition;
    const uint32_t times = history_[static_cast<size_t>(token)] / generated_once;
    if (times > 0) {
      value -= static_cast<float>(times * options_.frequency_penalty + options_.presence_penalty);
    }
    set(token, value);
  }
  for (int64_t token = 0; token < vocab && allowed_ != nullptr; ++token) {
    if ((allowed_[token / 32] >> (token % 32) & 1) != 0) continue;
    const float old = whole_[static_cast<size_t>(token)];
    nan |= old != old;
    infinite |= old == std::numeric_limits<float>::infinity();
    logits[token] = -std::numeric_limits<float>::infinity();
  }
  return nan ? SampleError::not_a_number : infinite ? SampleError::infinite : SampleError::none;
}

void Sampler::restore(float* logits) {
  for (; !saved_.empty(); saved_.pop_back()) logits[saved_.back().first] = saved_.back().second;
  std::copy(whole_.begin(), whole_.end(), logits);
  whole_.clear();
}

// Bias, penalties, bans, and the greatest logit after them; find_peak() must be followed by restore().
SampleError Sampler::find_peak(float* logits, int64_t vocab) {
  if (released_) return SampleError::disposed;
  const SampleError error = adjust(logits, vocab);
  adjusted_ = !saved_.empty() || allowed_ != nullptr;
  plain_total_ = 0;
  if (error != SampleError::none) return error;
  const Peak peak = sample_kernel().peak(logits, vocab, maxima_.data());
  if (peak.nan) return SampleError::not_a_number;
  if (peak.index < 0) return SampleError::nothing_left;
  if (std::isinf(peak.value)) return SampleError::infinite;
  best_ = peak.index;
  peak_ = peak.value;
  drawn_ = true;
  return SampleError::none;
}

void Sampler::sample(float* logits, int64_t vocab, SampleResult& result) {
  std::lock_guard lock(mutex_);
  result = SampleResult{};
  vocab = std::min(vocab, options_.vocab);
  result.error = find_peak(logits, vocab);
  if (result.error == SampleError::none) {
    result.token = options_.temperature > 0 ? pick(shape(logits, vocab), philox_uniform(options_.seed, generated_))
                                            : static_cast<int32_t>(best_);
  }
  restore(logits);
  if (result.error == SampleError::none) report(logits, vocab, result);
}

SampleError Sampler::law(float* logits, int64_t vocab, Law& law) {
  std::lock_guard lock(mutex_);
  vocab = std::min(vocab, options_.vocab);
  const SampleError error = find_peak(logits, vocab);
  if (error == SampleError::none) {
    best_id_ = static_cast<int32_t>(best_);
    law = options_.temperature > 0 ? shape(logits, vocab) : Law{&best_id_, &one_, 1, 1};
  }
  restore(logits);
  return error;
}

bool Sampler::allows(float* logits, int64_t vocab, int32_t token) {
  std::lock_guard lock(mutex_);
  vocab = std::min(vocab, options_.vocab);
  if (token < 0 || token >= vocab) return false;
  bool allowed = find_peak(logits, vocab) == SampleError::none;
  if (allowed)
    allowed = options_.temperature > 0 ? shape(logits, vocab).probability(token) > 0
                                       : logits[token] > -std::numeric_limits<float>::infinity();
  restore(logits);
  return allowed;
}

void Sampler::tell(const float* logits, int64_t vocab, int32_t token, SampleResult& result, bool others) {
  std::lock_guard lock(mutex_);
  result = SampleResult{};
  result.token = token;
  adjusted_ = adjusted_ || others;  // so that nothing known of the last law's logits is used
  report(logits, std::min(vocab, options_.vocab), result);
}

double Sampler::uniform(uint64_t lane) {
  std::lock_guard lock(mutex_);
  return philox_uniform(options_.seed, generated_, lane);
}

void Sampler::report(const float* logits, int64_t vocab, SampleResult& result) {
  if (!options_.logprob && top_.empty()) return;
  const float peak = adjusted_ ? sample_kernel().peak(logits, vocab, maxima_.data()).value : peak_;
  double total = adjusted_ ? 0 : plain_total_;
  if (total <= 0) total = sample_kernel().weigh(logits, vocab, peak, 1.0f, nullptr, nullptr);
  const double log_total = peak + std::log(total);
  result.logprob = static_cast<float>(logits[result.token] - log_total);
  if (!top_.empty()) report_top(logits, vocab, log_total, result);
}

Law Sampler::shape(const float* logits, int64_t vocab) {
  const float peak = peak_;
  // A temperature so small that its inverse overflows is as good as 1e-30.
  const auto scale = static_cast<float>(1 / std::max(options_.temperature, 1e-30));
  const bool ranked = options_.top_k > 0 && options_.top_k < vocab;
  double total = 0;
  if (!ranked) total = sample_kernel().weigh(logits, vocab, peak, scale, weights_.data(), sums_.data());
  if (scale == 1) plain_total_ = total;
  if (!truncates() || (!ranked && scatters(vocab, peak, scale, total))) {
    if (options_.typical_p < 1) total = mask_typical(vocab, total);
    if (options_.top_p < 1) total = mask_rank(weights_.data(), vocab, options_.top_p * total);
    if (options_.min_p > 0) total = mask_light(vocab);
    return {nullptr, weights_.data(), vocab, total};
  }
  Kept kept = ranked ? keep_top_k(logits, vocab, peak, scale) : keep_weighed(vocab, peak, scale, total);
  if (options_.typical_p < 1) keep_typical(kept);
  if (options_.top_p < 1) keep_top_p(kept);
  if (options_.min_p > 0) keep_min_p(kept);
  return {ids_.data(), weights_.data(), kept.count, kept.total};
}

// Of this sampler's own laws: those over all tokens have sums of their blocks.
int32_t Sampler::pick(const Law& law, double uniform) const {
  const double target = uniform * law.total;
  double sum = 0;
  int64_t begin = 0;
  if (law.ids == nullptr) {
    int64_t block = 0;
    while (block + 1 < blocks_of(law.count) && sum + sums_[static_cast<size_t>(block)] <= target) {
      sum += sums_[static_cast<size_t>(block++)];
    }
    begin = block * sample_block;
  }
  int64_t last = -1;
  for (int64_t i = begin; i < law.count; ++i) {
    if (law.weights[i] <= 0) continue;
    last = i;
    sum += law.weights[i];
    if (sum > target) break;
  }
  if (last < 0) {  // rounding carried the target past the last token that has any weight
    for (last = law.count - 1; last > 0 && law.weights[last] <= 0;) --last;
  }
  return law.token(last);
}

// ids_ and keys_ of at least the `wanted` greatest values and hardly more, ascending ids; returns how many.
int64_t Sampler::gather(const float* values, int64_t count, int64_t wanted) {
  const float* maxima = maxima_.data();
  // As many values reach it as blocks have a maximum there.
  const float least = sample_kernel().bound(maxima, blocks_of(count), wanted);
  const int64_t found = sample_kernel().reach(values, count, maxima, least, ids_.data());
  for (int64_t i = 0; i < found; ++i) {
    const int32_t id = ids_[static_cast<size_t>(i)];
    keys_[static_cast<size_t>(i)] = key_of(values[id], id);
  }
  return found;
}

Sampler::Kept Sampler::keep_top_k(const float* logits, int64_t vocab, float peak, float scale) {
  const int64_t wanted = options_.top_k;
  const int64_t found = gather(logits, vocab, wanted);
  const uint64_t least = least_kept(keys_.data(), found, static_cast<double>(wanted), [](uint64_t) { return 1.0; });
  Kept kept;
  for (int64_t i = 0; i < found && kept.count < wanted; ++i) {
    const int32_t id = ids_[static_cast<size_t>(i)];
    ids_[static_cast<size_t>(kept.count)] = id;
    kept.count += key_of(logits[id], id) >= least;
  }
  // The kernel works in place: a block is read before it is written.
  for (int64_t i = 0; i < kept.count; ++i) weights_[static_cast<size_t>(i)] = logits[ids_[static_cast<size_t>(i)]];
  kept.total = sample_kernel().weigh(weights_.data(), kept.count, peak, scale, weights_.data(), nullptr);
  return kept;
}

// What is lighter than this cannot be in the nucleus, nor pass min-p, whatever the rest looks like: together such
// tokens hold less than (1 - topP) of `total`. The margin covers rounding. typical-p looks at everything.
float Sampler::lightest(int64_t vocab, double total) const {
  const float least = std::numeric_limits<float>::min();
  if (options_.typical_p < 1) return least;
  if (options_.top_p >= 1) return std::max(least, static_cast<float>(options_.min_p * 0.99));
  return std::max(least, static_cast<float>((1 - options_.top_p) * total / static_cast<double>(vocab) * 0.99));
}

namespace {

// A logit that weighs less than `weight`.
float logit_below(float weight, float peak, float scale) {
  return peak + static_cast<float>((std::log(weight) - 1e-3) / scale);
}

}  // namespace

// Are the tokens that may survive truncation in so many blocks that passes over the whole vocabulary beat a list?
bool Sampler::scatters(int64_t vocab, float peak, float scale, double total) const {
  const float least = logit_below(lightest(vocab, total), peak, scale);
  int64_t found = 0;
  for (int64_t block = 0; block < blocks_of(vocab); ++block) found += maxima_[static_cast<size_t>(block)] >= least;
  return found >= many_blocks && found * listed_cost > blocks_of(vocab);
}

// The same three steps on all weights in place: what is out of the running has no weight.
double Sampler::mask_rank(const float* scores, int64_t vocab, double wanted) {
  const Rank least = least_rank(scores, weights_.data(), vocab, wanted, {masses_.data(), ids_.data(), keys_.data()});
  return truncate_kernel().mask(scores, weights_.data(), vocab, least.score, least.index, sums_.data());
}

double Sampler::mask_typical(int64_t vocab, double total) {
  const double sum = truncate_kernel().surprise(weights_.data(), vocab, std::log(total), scores_.data());
  truncate_kernel().nearness(scores_.data(), vocab, static_cast<float>(sum / total));
  return mask_rank(scores_.data(), vocab, options_.typical_p * total);
}

double Sampler::mask_light(int64_t vocab) {
  const Extent extent = truncate_kernel().extent(weights_.data(), weights_.data(), vocab);
  const double cut = options_.min_p * std::bit_cast<float>(extent.greatest);  // no weight is negative
  auto least = static_cast<float>(cut);
  if (least < cut) least = std::nextafter(least, std::numeric_limits<float>::infinity());
  return truncate_kernel().mask(weights_.data(), weights_.data(), vocab, least, vocab, sums_.data());
}

Sampler::Kept Sampler::keep_weighed(int64_t vocab, float peak, float scale, double total) {
  Kept kept;
  const float cut = lightest(vocab, total);
  const float* maxima = maxima_.data();
  const float least = logit_below(cut, peak, scale);
  for (int64_t block = 0; block < blocks_of(vocab); ++block) {
    if (maxima[block] < least) continue;
    const int64_t end = std::min(vocab, (block + 1) * sample_block);
    for (int64_t i = block * sample_block; i < end; ++i) {
      const float weight = weights_[static_cast<size_t>(i)];
      ids_[static_cast<size_t>(kept.count)] = static_cast<int32_t>(i);
      weights_[static_cast<size_t>(kept.count)] = weight;
      kept.count += weight >= cut;
    }
  }
  kept.total = total;  // of all tokens: topP is a share of the whole, the cut ones included
  return kept;
}

void Sampler::compact(Kept& kept, const float* scores, uint64_t least) {
  int64_t count = 0;
  double total = 0;
  for (int64_t i = 0; i < kept.count; ++i) {
    const bool keep = key_of(scores[i], i) >= least;
    const float weight = weights_[static_cast<size_t>(i)];
    ids_[static_cast<size_t>(count)] = ids_[static_cast<size_t>(i)];
    weights_[static_cast<size_t>(count)] = weight;
    count += keep;
    total += keep ? weight : 0.0f;
  }
  kept = {count, total};
}

// Meister et al. 2022, "Locally typical sampling": the tokens whose surprise is nearest to the entropy.
void Sampler::keep_typical(Kept& kept) {
  const double log_total = std::log(kept.total);
  double entropy = 0;
  for (int64_t i = 0; i < kept.count; ++i) {
    const float weight = weights_[static_cast<size_t>(i)];
    const double surprise = weight > 0 ? log_total - std::log(static_cast<double>(weight)) : 1e30;
    scores_[static_cast<size_t>(i)] = static_cast<float>(surprise);
    if (weight > 0) entropy += weight / kept.total * surprise;
  }
  for (int64_t i = 0; i < kept.count; ++i) {
    float& score = scores_[static_cast<size_t>(i)];
    score = -std::fabs(score - static_cast<float>(entropy));
    keys_[static_cast<size_t>(i)] = key_of(score, i);
  }
  const uint64_t least =
      least_kept(keys_.data(), kept.count, options_.typical_p * kept.total,
                 [this](uint64_t key) -> double { return weights_[static_cast<size_t>(index_of(key))]; });
  compact(kept, scores_.data(), least);
}

void Sampler::keep_top_p(Kept& kept) {
  for (int64_t i = 0; i < kept.count; ++i) keys_[static_cast<size_t>(i)] = key_of(weights_[static_cast<size_t>(i)], i);
  const uint64_t least = least_kept(keys_.data(), kept.count, options_.top_p * kept.total, [](uint64_t key) -> double {
    return std::bit_cast<float>(static_cast<uint32_t>(key >> 32) & 0x7FFFFFFFu);  // weights are not negative
  });
  compact(kept, weights_.data(), least);
}

void Sampler::keep_min_p(Kept& kept) {
  const float* end = weights_.data() + kept.count;
  const float heaviest = *std::max_element(static_cast<const float*>(weights_.data()), end);
  const double cut = options_.min_p * heaviest;
  int64_t count = 0;
  double total = 0;
  for (int64_t i = 0; i < kept.count; ++i) {
    const float weight = weights_[static_cast<size_t>(i)];
    if (weight < cut) continue;
    ids_[static_cast<size_t>(count)] = ids_[static_cast<size_t>(i)];
    weights_[static_cast<size_t>(count++)] = weight;
    total += weight;
  }
  kept = {count, total};
}

// The first `wanted` ranks of the logits become the first keys, in order.
void Sampler::rank_first(const float* logits, int64_t vocab, int64_t wanted) {
  const int64_t found = gather(logits, vocab, wanted);
  std::partial_sort(keys_.begin(), keys_.begin() + wanted, keys_.begin() + found, std::greater<>());
}

void Sampler::report_top(const float* logits, int64_t vocab, double log_total, SampleResult& result) {
  const auto wanted = std::min<int64_t>(static_cast<int64_t>(top_.size()), vocab);
  rank_first(logits, vocab, wanted);
  for (int64_t i = 0; i < wanted; ++i) {
    const int64_t token = index_of(keys_[static_cast<size_t>(i)]);
    top_[static_cast<size_t>(i)] = {static_cast<int32_t>(token), static_cast<float>(logits[token] - log_total)};
  }
  result.top = top_.data();
  result.top_count = static_cast<int32_t>(wanted);
}

SampleError Sampler::rank(float* logits, int64_t vocab, int64_t count, std::vector<TokenLogprob>& best) {
  std::lock_guard lock(mutex_);
  best.clear();
  vocab = std::min(vocab, options_.vocab);
  const SampleError error = find_peak(logits, vocab);
  if (error == SampleError::none) {
    const double total = sample_kernel().weigh(logits, vocab, peak_, 1.0f, nullptr, nullptr);
    const double log_total = peak_ + std::log(total);
    if (keys_.empty()) make_room_to_rank();
    count = std::min(count, vocab);
    rank_first(logits, vocab, count);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t token = index_of(keys_[static_cast<size_t>(i)]);
      if (std::isinf(logits[token])) break;
      best.push_back({static_cast<int32_t>(token), static_cast<float>(logits[token] - log_total)});
    }
  }
  restore(logits);
  return error;
}

}  // namespace vivace
