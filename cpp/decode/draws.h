// The draws at the end of a run: which sampler draws from which row of logits, which drafts are verified, and what came
// out of it.
#pragma once
#include <cstdint>
#include <vector>

#include "decode/sample.h"
#include "decode/tree/level_batch.h"
#include "decode/verify/residual.h"
#include "decode/verify/verify.h"

namespace vivace {

// What a run drew, owned: the samplers go on while somebody reads it.
struct Drawn {
  std::vector<SampleResult> results;           // per output
  std::vector<std::vector<TokenLogprob>> top;  // per output
};

// An output whose draws are a draft for somebody else: with random numbers of their own, and on record.
struct DraftRecord {
  Proposal* proposal = nullptr;  // null: not one of these; its first node is the root
  uint64_t cycle = 1;
  uint64_t steps = 0;  // drawn so far

  // A token that was drawn where the proposal's other laws are.
  void drew_elsewhere(int32_t token) {
    proposal->nodes.resize(static_cast<size_t>(++steps));
    proposal->nodes.back() = {StoredLaw(), {token}, true};
  }
};

struct Draws {
  int logits = -1;                  // the value that is drawn from
  std::vector<Sampler*> samplers;   // per output, null: no draw
  std::vector<DraftRecord> drafts;  // per output, empty: none
  std::vector<std::vector<uint32_t>>
      masks;                    // per output: tokens that may be drawn, as for Sampler::limit_to; empty: all
  std::vector<Walk> walks;      // their outputs have no samplers
  std::vector<TreeRows> trees;  // nor have theirs
  Drawn drawn;

  void clear() {
    drawn = {};
    drawn.results.resize(samplers.size());
    drawn.top.resize(samplers.size());
  }
  // What threads may do side by side: the outputs, the walks, the trees.
  size_t units() const { return samplers.size() + walks.size() + trees.size(); }
  int64_t first_output(size_t unit) const {
    if (unit < samplers.size()) return static_cast<int64_t>(unit);
    unit -= samplers.size();
    return unit < walks.size() ? walks[unit].output : trees[unit - walks.size()].output;
  }
  bool is_limited(size_t output) const { return output < masks.size() && !masks[output].empty(); }
  // On the host; `row` is the logits of the unit's first output, a walk's and a tree's other rows follow. They are as
  // before when it returns.
  void draw(size_t unit, float* row, int64_t vocab) {
    if (unit < samplers.size()) return draw_row(unit, row, vocab);
    if (unit >= samplers.size() + walks.size()) return grow(trees[unit - samplers.size() - walks.size()], row, vocab);
    Walk& walk = walks[unit - samplers.size()];
    const auto first = static_cast<size_t>(walk.output);
    verify(walk, row, vocab, &drawn.results[first], &drawn.top[first]);
  }

 private:
  void grow(const TreeRows& rows, float* row, int64_t vocab) {
    if (rows.tree->level().empty()) return;
    if (rows.levels > 0)
      rows.tree->take_all(row, vocab / rows.levels, rows.levels);
    else
      rows.tree->take(row, vocab);
    if (rows.tree->error() != SampleError::none)
      drawn.results[static_cast<size_t>(rows.output)].error = rows.tree->error();
  }
  void draw_row(size_t i, float* row, int64_t vocab) {
    if (samplers[i] == nullptr) return;
    SampleResult& result = drawn.results[i];
    if (is_limited(i)) samplers[i]->limit_to(masks[i].data());
    if (i < drafts.size() && drafts[i].proposal != nullptr)
      propose(drafts[i], *samplers[i], row, vocab, result);
    else
      samplers[i]->sample(row, vocab, result);
    if (is_limited(i)) samplers[i]->limit_to(nullptr);
    if (result.error != SampleError::none) return;
    drawn.top[i].assign(result.top, result.top + result.top_count);
    samplers[i]->accept(&result.token, 1);
  }
  static void propose(DraftRecord& draft, Sampler& sampler, float* row, int64_t vocab, SampleResult& result) {
    Law law;
    result.error = sampler.law(row, vocab, law);
    if (result.error != SampleError::none) return;
    const uint64_t step = draft.steps++;
    const int32_t token = Residual(law).draw(sampler.uniform(lane_of(draft.cycle, Lane::draft, step)));
    draft.proposal->nodes.resize(static_cast<size_t>(step) + 1);
    draft.proposal->nodes[static_cast<size_t>(step)] = {StoredLaw(law), {token}, false};
    sampler.tell(row, vocab, token, result);
  }
};

}  // namespace vivace
