// A program that tries the kernels of decoding, emulated or on a card: here greedy choices and greedy verification,
// against the plainest rules.
#include "cuda/decode/greedy.h"

#include <cmath>
#include <random>

#include "cuda/core/launch.h"
#include "test/cuda/decode/decode.h"
#include "test/cuda/report.h"

namespace vivace::cuda {
namespace {

std::mt19937 random(7);
int below(int count) {
  return static_cast<int>(random() % static_cast<unsigned>(count));
}

void choices() {
  bool good = true;
  for (const int vocab : {1, 2, 31, 257, 1024, 1025, 5003, 40000}) {
    constexpr int rows = 7;
    const int stride = vocab + 3;  // poison between the rows must not be read
    std::vector<float> logits(static_cast<size_t>(rows * stride), NAN);
    for (int r = 0; r < rows; ++r)
      for (int i = 0; i < vocab; ++i) {
        // Row 0 has many equal peaks, row 1 is banned but for a token, row 2 wholly, 3 has a NaN, 4 +infinity.
        float x = static_cast<float>(below(r == 0 ? 3 : 1 << 20)) / (r == 0 ? 1.0f : 65536.0f) - 8.0f;
        if (r == 1 || r == 2) x = -INFINITY;
        logits[static_cast<size_t>(r * stride + i)] = x;
      }
    const auto at = [&](int row) -> float& { return logits[static_cast<size_t>(row * stride + below(vocab))]; };
    at(1) = -3;
    at(4) = INFINITY;
    at(3) = NAN;
    at(5) = 90;
    if (vocab > 1) logits[static_cast<size_t>(6 * stride)] = INFINITY;  // row 6 has both: NaN is reported
    if (vocab > 1) logits[static_cast<size_t>(6 * stride + vocab - 1)] = NAN;
    const size_t parts = static_cast<size_t>(rows * greedy_parts_of(vocab));
    DeviceArray<float> x(logits);
    DeviceArray<GreedyPart> room(std::vector<GreedyPart>(parts, {NAN, 77, NAN, 77}));
    DeviceArray<GreedyChoice> y(std::vector<GreedyChoice>(rows, {77, NAN, 77}));
    choose_greedy(x.get(), stride, rows, vocab, room.get(), y.get(), nullptr);
    check(cudaDeviceSynchronize(), "synchronize");
    const std::vector<GreedyChoice> out = y.values();
    for (int r = 0; r < rows; ++r) {
      const GreedyChoice& got = out[static_cast<size_t>(r)];
      const int error = r == 2 ? 3 : r == 3 ? 1 : r == 4 ? 2 : r == 6 && vocab > 1 ? 1 : 0;
      const float* row = logits.data() + r * stride;
      if (error != 0) {
        good = good && got.error == error && got.token == -1;
        continue;
      }
      int best = 0;
      for (int i = 1; i < vocab; ++i) best = row[i] > row[best] ? i : best;
      double total = 0;
      for (int i = 0; i < vocab; ++i) total += std::exp(static_cast<double>(row[i]) - row[best]);
      good = good && got.error == 0 && got.token == best && std::abs(got.logprob + std::log(total)) < 2e-6;
    }
  }
  report("greedy choices, their logprobs and errors", good);
}

void greedy_verification(bool chain, const char* name) {
  bool good = true;
  for (int round = 0; round < 60; ++round) {
    constexpr int sequences = 5;
    std::vector<int32_t> begins{0}, tokens, parents;
    std::vector<GreedyChoice> picks;
    for (int s = 0; s < sequences; ++s) {
      const int rows = s == 0 ? 1 : 1 + below(90);
      for (int i = 0; i < rows; ++i) {
        tokens.push_back(below(3));
        parents.push_back(i == 0 ? -1 : chain ? i - 1 : below(i));
        const bool broken = below(20) == 0;
        picks.push_back({broken                   ? -1
                         : chain && below(4) != 0 ? 1
                                                  : below(3),
                         -0.5f * static_cast<float>(i), broken ? 1 : 0});
        if (chain && i > 0 && below(8) != 0 && picks[picks.size() - 2].token >= 0)
          tokens.back() = picks[picks.size() - 2].token;
      }
      begins.push_back(begins.back() + rows);
    }
    DeviceArray<GreedyChoice> choices(picks), next(std::vector<GreedyChoice>(sequences, {77, NAN, 77}));
    DeviceArray<int32_t> t(tokens), p(parents), b(begins), accepted(std::vector<int32_t>(tokens.size(), 77)),
        counts(std::vector<int32_t>(sequences, 77));
    verify_greedy(choices.get(), t.get(), p.get(), b.get(), sequences, accepted.get(), counts.get(), next.get(),
                  nullptr);
    check(cudaDeviceSynchronize(), "synchronize");
    const std::vector<int32_t> path = accepted.values(), lengths = counts.values();
    const std::vector<GreedyChoice> last = next.values();
    for (size_t s = 0; s < sequences; ++s) {
      const size_t begin = static_cast<size_t>(begins[s]), rows = static_cast<size_t>(begins[s + 1]) - begin;
      std::vector<int32_t> wanted;
      size_t at = 0;
      for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 1; i < rows && !moved; ++i)
          if (parents[begin + i] == static_cast<int>(at) && tokens[begin + i] == picks[begin + at].token) {
            wanted.push_back(static_cast<int32_t>(i));
            at = i;
            moved = true;
          }
      }
      good = good && lengths[s] == static_cast<int>(wanted.size()) && last[s].token == picks[begin + at].token &&
             last[s].error == picks[begin + at].error && last[s].logprob == picks[begin + at].logprob;
      wanted.resize(rows, -1);
      for (size_t i = 0; i < rows; ++i) good = good && path[begin + i] == wanted[i];
    }
  }
  report(name, good);
}

}  // namespace
}  // namespace vivace::cuda

int main() {
  using namespace vivace::cuda;
  return run_checks([] {
    choices();
    greedy_verification(true, "greedy chains");
    greedy_verification(false, "greedy trees");
    sampling();
    verification();
    card_laws();
  });
}
