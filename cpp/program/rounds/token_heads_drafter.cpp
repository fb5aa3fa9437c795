#include "program/rounds/token_heads_drafter.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>

#include "core/error.h"

namespace vivace {

void TokenHeadsDrafter::accept(const int32_t* tokens, int64_t count) {
  study_.said(tokens, count);
  options_.sampler->accept(tokens, count);
  text_ += count;
}

void TokenHeadsDrafter::hear(const float* features, int64_t rows) {
  if (rows > 0) features_.assign(features + (rows - 1) * width(), features + rows * width());
}

// Nothing is kept of a row, which is always the first one.
void TokenHeadsDrafter::prepare(int64_t, DraftSize) {
  options_.kv->reserve(options_.sequence, 1);
}

void TokenHeadsDrafter::draft(int max_tokens, int max_nodes, Draft& out) {
  std::vector<DraftAsk> alone = {{this, {max_tokens, max_nodes}, &out}};
  draft_together(alone);
}

TreeShape TokenHeadsDrafter::shape_for(DraftSize size) const {
  const bool drawn = options_.proposal != nullptr;
  if (size.is_tree()) return options_.shapes.of(size);
  TreeShape chain;
  chain.depth = chain.nodes = size.tokens;
  chain.least = options_.least;
  for (int32_t i = 0; drawn && i < size.tokens; ++i) chain.parents.push_back(i - 1);
  return chain;
}

void TokenHeadsDrafter::draft_together(std::vector<DraftAsk>& asks) {
  const auto begin = DraftStudy::Clock::now();
  BatchRows rows;
  Draws draws;
  draws.logits = options_.logits;
  std::vector<float> features;
  std::vector<std::unique_ptr<GrowingTree>> trees;
  std::vector<Draft*> drafts;
  std::vector<TokenHeadsDrafter*> drafters;
  for (DraftAsk& ask : asks) {
    auto& own = *static_cast<TokenHeadsDrafter*>(ask.drafter);
    const ModelDrafterOptions& given = own.options_;
    ask.out->clear();
    if (given.proposal != nullptr) given.proposal->nodes.clear();
    DraftSize size = ask.most;
    size.tokens = static_cast<int>(std::min({int64_t{size.tokens}, int64_t{levels_}, given.context - own.text_}));
    if (!ask.most.is_tree()) size.nodes = size.tokens;
    // Before a token was said, what was heard is of a row where the prompt was cut, which the clock decides.
    if (size.tokens < 1 || own.terms_.cycle == 1 || own.features_.empty()) continue;
    const std::vector<float> heard = std::exchange(own.features_, {});
    TreeShape shape = own.shape_for(size);
    if (given.studies && size.is_tree() && shape.parents.empty()) continue;  // nothing was ever kept
    constexpr int32_t any_token = 0;
    rows.add_chain(given.sequence, 0, &any_token, 1);
    features.insert(features.end(), heard.begin(), heard.end());
    trees.push_back(std::make_unique<GrowingTree>(std::move(shape), given.sampler, given.proposal, own.terms_.cycle));
    draws.trees.push_back({trees.back().get(), static_cast<int64_t>(drafts.size()), levels_});
    draws.samplers.push_back(nullptr);
    drafts.push_back(ask.out);
    drafters.push_back(&own);
  }
  if (drafts.empty()) return;
  draws.clear();
  const Batch batch = rows.show();
  std::vector<RunBinding> bindings = {{options_.head.features, reinterpret_cast<std::byte*>(features.data())}};
  options_.state->bind_batch(batch, bindings);
  {
    std::lock_guard turn(*options_.state->running);
    options_.state->executable->run(batch.rows, batch.outputs, bindings, &batch, options_.kv.get(), &draws);
  }
  std::vector<int32_t> cells;  // none
  for (size_t i = 0; i < drafts.size(); ++i) {
    if (trees[i]->error() != SampleError::none) continue;
    trees[i]->finish(*drafts[i], cells);
    if (drafters[i]->options_.studies) drafters[i]->study_.drafted(*drafts[i], begin);
  }
}

void TokenHeadsDrafter::truncate(int64_t) {
  throw Error("INTERNAL", "Heads draft for one generation, whose text is never cut");
}

std::unique_ptr<Drafter> TokenHeadsDrafter::fork() const {
  throw Error("INTERNAL", "Heads draft for one generation");
}

}  // namespace vivace
