// Draws one sequence's tokens from logits: bias, penalties, temperature, truncation, draw. One object per sequence; it
// owns the penalties' history, the place in the random stream and all scratch. The plain counterpart, and the oracle of
// the tests, is lib/decode/reference-sampler.ts; the order of the steps is explained in lib/decode/options.ts.
#pragma once
#include <cstdint>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

#include "decode/law.h"

namespace vivace {

struct SamplerOptions {
  double temperature = 1;  // 0: greedy, ties to the lowest id
  int64_t top_k = 0;       // 0: off
  double top_p = 1;        // 1: off
  double min_p = 0;        // 0: off
  double typical_p = 1;    // 1: off
  double repetition_penalty = 1;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;  // -inf bans a token
  uint64_t seed = 0;
  bool logprob = true;       // report the drawn token's log-probability: an exponential of every logit
  int32_t top_logprobs = 0;  // how many of the most probable tokens to report
  int64_t vocab = 0;         // tokens at or beyond it are never drawn
};

struct TokenLogprob {
  int32_t token;
  float logprob;
};

enum class SampleError { none, not_a_number, infinite, nothing_left, disposed };

// A sentence for the user; the code is DISPOSED for `disposed` and NUMERIC for the others.
const char* describe(SampleError error);

struct SampleResult {
  int32_t token = -1;
  // Natural, under softmax of the logits as the model gave them; NaN when nobody asked.
  float logprob = std::numeric_limits<float>::quiet_NaN();
  // Most probable first, under the same distribution; valid until the sampler's next call.
  const TokenLogprob* top = nullptr;
  int32_t top_count = 0;
  SampleError error = SampleError::none;
};

// What a draw elsewhere needs to know: the options, and what the text so far has to do with it.
struct DrawState {
  const SamplerOptions* options = nullptr;
  uint64_t index = 0;  // of the random number
  std::vector<int32_t> bias_tokens;
  std::vector<float> biases;
  std::vector<int32_t> seen;    // tokens that penalties touch
  std::vector<uint32_t> times;  // how often each was generated
};

// Calls may come from any thread, one at a time (they lock); sample() does not allocate.
class Sampler {
 public:
  explicit Sampler(SamplerOptions options);

  // Tokens that were put into the text. Those before the first draw are the prompt: the repetition penalty counts them,
  // presence and frequency penalties do not.
  void accept(const int32_t* tokens, int64_t count);

  // Draws, laws and ranks are of tokens whose bit is set, token t being bit t % 32 of word t / 32, until the next call;
  // null: of all. The words stay the caller's, and there are enough for vocab().
  void limit_to(const uint32_t* allowed);
  int64_t vocab() const { return options_.vocab; }

  // Takes back what accept() was told last: the same tokens, for verifiers that look further than they keep.
  void retract(const int32_t* tokens, int64_t count);

  // Draws from logits[0, min(vocab, options.vocab)), which are as before when it returns.
  void sample(float* logits, int64_t vocab, SampleResult& result);

  // What sample() draws from, valid until the next call; greedy samplers have one token in it. Somebody else chooses,
  // and says so by tell() and accept(). The logits are as before when it returns.
  SampleError law(float* logits, int64_t vocab, Law& law);
  // Fills in the token that was chosen from the last law(), of the same logits, and what is reported of it. `others`:
  // what is reported is about these logits, but the law was of others.
  void tell(const float* logits, int64_t vocab, int32_t token, SampleResult& result, bool others = false);
  // The `count` most probable tokens after bias and penalties, best first, of equals the lower one, with their natural
  // log-probabilities at temperature 1; fewer where others are banned. The logits are as before when it returns.
  SampleError rank(float* logits, int64_t vocab, int64_t count, std::vector<TokenLogprob>& best);
  // Whether the token has any probability: neither banned nor cut away by truncation. At temperature 0 only bans count.
  bool allows(float* logits, int64_t vocab, int32_t token);
  bool greedy() const { return options_.temperature <= 0; }
  // Whether equal logits may have another law behind another text: penalties.
  bool depends_on_text() const { return !history_.empty(); }
  // In [0, 1): the random number of the next token, for purposes other than sample()'s own by lanes above 0.
  double uniform(uint64_t lane);

  // For a draw elsewhere: the next one, or the one after these tokens of an answer. False: disposed.
  bool describe(DrawState& state, const std::vector<int32_t>& path = {});
  // A draw elsewhere gave this token, which is in the text now.
  void drew(int32_t token);
  // Tokens were ranked or a law was made elsewhere: the prompt is over.
  void looked();

  // Gives all memory back; sample() then reports `disposed`.
  void release();

 private:
  void add(const int32_t* tokens, int64_t count);
  struct Kept {  // the tokens still in the running, ascending ids
    int64_t count = 0;
    double total = 0;  // sum of their weights
  };
  bool truncates() const;
  void make_room_to_rank();
  SampleError adjust(float* logits, int64_t vocab);
  SampleError find_peak(float* logits, int64_t vocab);
  void restore(float* logits);
  void report(const float* logits, int64_t vocab, SampleResult& result);
  Law shape(const float* logits, int64_t vocab);
  int32_t pick(const Law& law, double uniform) const;
  float lightest(int64_t vocab, double total) const;
  bool scatters(int64_t vocab, float peak, float scale, double total) const;
  double mask_rank(const float* scores, int64_t vocab, double wanted);
  double mask_typical(int64_t vocab, double total);
  double mask_light(int64_t vocab);
  Kept keep_top_k(const float* logits, int64_t vocab, float peak, float scale);
  Kept keep_weighed(int64_t vocab, float peak, float scale, double total);
  void keep_typical(Kept& kept);
  void keep_top_p(Kept& kept);
  void keep_min_p(Kept& kept);
  void compact(Kept& kept, const float* scores, uint64_t least);
  void rank_first(const float* logits, int64_t vocab, int64_t wanted);
  void report_top(const float* logits, int64_t vocab, double log_total, SampleResult& result);
  int64_t gather(const float* values, int64_t count, int64_t wanted);

  SamplerOptions options_;
  std::mutex mutex_;
  uint64_t generated_ = 0;  // tokens accepted since the first draw
  bool drawn_ = false;
  bool released_ = false;
  int64_t best_ = -1;      // the last row's most probable token,
  float peak_ = 0;         // its logit, after adjustments
  bool adjusted_ = false;  // if there were any
  float one_ = 1;          // the weight of a greedy law
  int32_t best_id_ = -1;   // and its token
  const uint32_t* allowed_ = nullptr;
  std::vector<float> whole_;       // the logits as they were, while `allowed_` bans some of them
  double plain_total_ = 0;         // of the weights at temperature 1 that the last draw computed, 0 if it did not
  std::vector<uint32_t> history_;  // [vocab] times generated · 2 + (in the prompt or generated)
  std::vector<int32_t> touched_;   // ids whose history is not 0
  size_t prompted_ = 0;            // so many of them, the first ones, are the prompt's
  std::vector<std::pair<int32_t, float>> saved_;  // logits that bias and penalties changed, in that order
  std::vector<float> maxima_;                     // [vocab / 64] of the logits
  std::vector<float> weights_;                    // [kept]
  std::vector<float> scores_;                     // [kept] distance from the entropy
  std::vector<double> sums_;                      // [vocab / 64]
  std::vector<double> masses_;                    // scratch of selections, as the next two
  std::vector<int32_t> ids_;                      // [kept + 1]
  std::vector<uint64_t> keys_;                    // [kept]
  std::vector<TokenLogprob> top_;
};

}  // namespace vivace
