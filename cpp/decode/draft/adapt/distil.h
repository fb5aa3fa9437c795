// Teaches a low-rank addition to a drafter's output matrix what the target says: one step of hybrid distillation
// (OmniDraft, Ramakrishnan et al. 2025, section 3.2) with AdamW. lib/decode/speculation/adapt/distillation.ts is the
// same in plain form.
//
//   z = logits + b · (a · hidden) per row: what the drafter says with the addition; a [rank, width], b [vocab, rank].
//   law of the target over some tokens of the drafter and a class of all other mapped ones: reverse KL, KL or half the
//   L1 distance to the drafter's law over the mapped tokens; label: −weight · ln softmax(z)[label]. Loss: mean over
//   rows with a law + lambda · mean over rows with a label.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

namespace vivace {

enum class DistilLoss { reverse_kl, kl, total_variation };

struct DistilBatch {
  int64_t rows, width, vocab, rank;
  const float* hidden;    // [rows, width]
  const float* logits;    // [rows, vocab], without the addition
  const uint8_t* mapped;  // [vocab]: not 0 where a token of the target stands for it
  // Row i has the law laws[starts[i], starts[i + 1]) of the mapped tokens `ids`, different ones; the rest to 1 is that
  // of all others. No law where there are none.
  const int32_t* starts;  // [rows + 1]
  const int32_t* ids;
  const float* laws;
  const int32_t* labels;  // [rows], −1: none
  const float* weights;   // [rows], of labels
  DistilLoss loss;
  double lambda;
};

struct DistilLosses {
  double law = 0, label = 0;  // means
  double norm = 0;            // of the gradient, before it is clipped
};

struct AdamW {
  int64_t step;  // from 1
  double rate, beta1, beta2, epsilon, decay, clip;
};

// Adds nothing to `ga` and `gb`: they are overwritten. `check` is called once per row and may throw.
DistilLosses distil_gradient(const DistilBatch& batch, const float* a, const float* b, std::vector<float>& ga,
                             std::vector<float>& gb, const std::function<void()>& check);

// One step; `moments` [2, size] are the running means of a gradient and of its square.
void adamw(const AdamW& how, double scale, const std::vector<float>& gradient, float* values, float* moments);

// Both, for a [rank, width] and b [vocab, rank] with moments of theirs. Nothing changes where a loss is no finite
// number.
DistilLosses distil(const DistilBatch& batch, const AdamW& how, float* a, float* b, float* moments_a, float* moments_b,
                    const std::function<void()>& check);

}  // namespace vivace
