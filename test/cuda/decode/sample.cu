// Draws on the card against the host's: the same tokens for the same options, seeds and texts, the same most probable
// tokens, and the same laws kept.
#include "cuda/decode/sample.h"

#include "decode/law.h"
#include "test/cuda/decode/decode.h"

namespace vivace::cuda {
namespace {

using namespace trial;

// Room for one law, poisoned.
class LawRoom {
 public:
  explicit LawRoom(int vocab)
      : head_(std::vector<LawHead>{{NAN, 77, 77}}),
        ids_(std::vector<int32_t>(static_cast<size_t>(vocab), 1 << 30)),
        weights_(std::vector<float>(static_cast<size_t>(vocab), NAN)) {}
  CardLaw place() const { return {head_.get(), ids_.get(), weights_.get()}; }

  // Whether this law is there: the same tokens and weights, and nearly the same sum.
  bool is(const StoredLaw& wanted) const {
    const LawHead head = head_.values()[0];
    const std::vector<int32_t> ids = ids_.values();
    const std::vector<float> weights = weights_.values();
    const Law law = wanted.view();
    int64_t at = 0;
    for (int32_t i = 0; i < head.count; ++i) {
      const auto place = static_cast<size_t>(i);
      if (weights[place] == 0 && head.dense != 0) continue;
      const int32_t token = head.dense != 0 ? i : ids[place];
      if (at == law.count || law.ids[at] != token || law.weights[at] != weights[place]) return false;
      ++at;
    }
    return at == law.count && (at == 0 || std::abs(head.total - law.total) < 1e-6 * law.total);
  }

 private:
  DeviceArray<LawHead> head_;
  DeviceArray<int32_t> ids_;
  DeviceArray<float> weights_;
};
using KeptLaw = std::unique_ptr<LawRoom>;

void same_tokens(const char* name, std::vector<int> vocabularies, int rounds, double spread) {
  int wrong = 0, wrong_tops = 0, all_tops = 0, wrong_laws = 0, all_laws = 0, wrong_ranks = 0, all_ranks = 0;
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
        for (Drawer& drawer : drawn) drawer.allowed = unit() < 0.3 ? some_allowed(vocab) : std::vector<uint32_t>();
        Rows given = rows_of(drawn, vocab);
        for (DrawRow& row : given.draws)
          if (row.top_count > 0 && unit() < 0.4) row.flags |= draw_ranked;
        std::vector<KeptLaw> laws(rows);
        for (int r = 0; r < rows; ++r) {
          laws[static_cast<size_t>(r)] = std::make_unique<LawRoom>(vocab);
          DrawRow& row = given.draws[static_cast<size_t>(r)];
          if (drawn[static_cast<size_t>(r)].sampler != nullptr && unit() < 0.5)
            row.law = laws[static_cast<size_t>(r)]->place();
        }
        std::vector<TopToken> tops;
        const std::vector<GreedyChoice> got = draw(
            logits, stride, vocab, given, [](const SampleRun&) {}, &tops);
        for (int r = 0; r < rows; ++r) {
          const GreedyChoice& choice = got[static_cast<size_t>(r)];
          if (drawn[static_cast<size_t>(r)].sampler == nullptr) {
            wrong += choice.token != -1 || choice.error != 0;
            continue;
          }
          Sampler& sampler = *drawn[static_cast<size_t>(r)].sampler;
          const DrawRow& row = given.draws[static_cast<size_t>(r)];
          const bool limited = (row.flags & draw_limited) != 0;
          sampler.limit_to(limited ? drawn[static_cast<size_t>(r)].allowed.data() : nullptr);
          std::vector<TokenLogprob> ranked;
          if ((row.flags & draw_ranked) != 0) sampler.rank(logits.data() + r * stride, vocab, row.top_count, ranked);
          Law law;
          const SampleError broken = sampler.law(logits.data() + r * stride, vocab, law);
          if (row.law.head != nullptr) {
            const bool kept =
                laws[static_cast<size_t>(r)]->is(broken == SampleError::none ? StoredLaw(law) : StoredLaw());
            wrong_laws += kept ? 0 : 1;
            ++all_laws;
          }
          SampleResult wanted;
          sampler.sample(logits.data() + r * stride, vocab, wanted);
          // An infinite logit that is banned: either error is right.
          const bool changed = row.bias_count > 0 || limited;
          const bool same_error = choice.error == static_cast<int>(wanted.error) ||
                                  (choice.error != 0 && wanted.error != SampleError::none && changed);
          const bool same = same_error && choice.token == wanted.token &&
                            (choice.error != 0 || std::abs(choice.logprob - wanted.logprob) < 1e-5);
          if (!same) {
            ++wrong;
            why = "vocab " + std::to_string(vocab) + " round " + std::to_string(round) + " row " + std::to_string(r) +
                  ": " + std::to_string(choice.token) + " error " + std::to_string(choice.error) + " instead of " +
                  std::to_string(wanted.token) + " error " + std::to_string(static_cast<int>(wanted.error)) +
                  ", logprobs " + std::to_string(choice.logprob) + " " + std::to_string(wanted.logprob);
          }
          for (int i = 0; i < row.top_count && wanted.error == SampleError::none; ++i) {
            const TopToken top = tops[static_cast<size_t>(row.top_begin + i)];
            if ((row.flags & draw_ranked) != 0) {
              const bool there = i < static_cast<int>(ranked.size());
              const bool equal = there ? top.token == ranked[static_cast<size_t>(i)].token &&
                                             std::abs(top.logprob - ranked[static_cast<size_t>(i)].logprob) < 1e-5
                                       : std::isinf(top.logprob);
              wrong_ranks += equal ? 0 : 1;
              ++all_ranks;
              continue;
            }
            const bool equal =
                i < wanted.top_count && top.token == wanted.top[i].token &&
                (top.logprob == wanted.top[i].logprob || std::abs(top.logprob - wanted.top[i].logprob) < 1e-5);
            wrong_tops += equal ? 0 : 1;
            ++all_tops;
          }
          if (wanted.error == SampleError::none) drawn[static_cast<size_t>(r)].sampler->accept(&wanted.token, 1);
        }
      }
    }
  report(name, wrong == 0, std::to_string(wrong) + " wrong, " + why);
  report("and so are their most probable tokens", wrong_tops == 0 && all_tops > 50,
         std::to_string(wrong_tops) + " of " + std::to_string(all_tops) + " wrong");
  report("and those after bias, penalties and bans", wrong_ranks == 0 && all_ranks > 10,
         std::to_string(wrong_ranks) + " of " + std::to_string(all_ranks) + " wrong");
  report("and the laws that are kept", wrong_laws == 0 && all_laws > 10,
         std::to_string(wrong_laws) + " of " + std::to_string(all_laws) + " wrong");
}

}  // namespace

void sampling() {
  same_tokens("draws of small vocabularies are the host's", {1, 2, 31, 64, 65, 200, 700}, 14, 4);
  same_tokens("draws of a large vocabulary are the host's", {5003, 20000}, 5, 3);
  same_tokens("draws of flat rows are the host's", {3000, 9001}, 6, 0.8);
}

}  // namespace vivace::cuda
