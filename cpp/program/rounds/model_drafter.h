// Drafts by a second program: chains of what it says behind a text, computed between two rounds of the program that
// verifies them. It has a sequence of a KV cache of its own, which nobody else touches during the run.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "caches/paged_kv.h"
#include "decode/draft/drafter.h"
#include "decode/sample.h"
#include "decode/verify/proposal.h"
#include "program/rounds/executable_state.h"

namespace vivace {

struct ModelDrafterOptions {
  std::shared_ptr<ExecutableState> state;
  std::shared_ptr<PagedKv> kv;
  int sequence = 0;
  int logits = 0;                // the value that is drawn from
  Sampler* sampler = nullptr;    // it has heard the same text; this and the next one outlive the drafter
  Proposal* proposal = nullptr;  // what tokens are drawn from, on record; null: the most probable ones are chosen
  float least = 0;               // nothing follows a token that the program finds less probable
  int64_t context = 0;           // no draft goes beyond so many tokens of text
};

// The text's tokens are read when a draft is wanted: those of the last draft that were kept have been, by then. Members
// but prepare() do not change the cache's tables, so that they may run on any thread.
class ModelDrafter final : public Drafter {
 public:
  explicit ModelDrafter(const ModelDrafterOptions& options) : options_(options) {}

  void accept(const int32_t* tokens, int64_t count) override;
  void draft(int max_tokens, int max_nodes, Draft& out) override;
  void set_terms(const DraftTerms& terms) override { terms_ = terms; }
  const Proposal* proposal() const override { return options_.proposal; }
  // Those of one program and cache go through it together, token by token.
  const void* group() const override { return options_.kv.get(); }
  void draft_together(std::vector<DraftAsk>& asks) override;
  // Says to the cache what of the text it holds, and gets memory for more. Throws OUT_OF_MEMORY.
  void prepare(int64_t tokens, int most) override;
  int64_t room() const override;
  int64_t bytes() const override { return 0; }
  // A text that was said stays: throw INTERNAL.
  void truncate(int64_t length) override;
  std::unique_ptr<Drafter> fork() const override;

 private:
  class Chains;
  int64_t text() const { return cells_ + static_cast<int64_t>(pending_.size()); }

  ModelDrafterOptions options_;
  DraftTerms terms_;
  int64_t cells_ = 0;             // of the text that are computed
  std::vector<int32_t> pending_;  // tokens of the text behind them
  std::vector<int32_t> drafted_;  // the last draft, which the sampler takes for text; all but its last one is computed
  int64_t end_ = 0;               // cells that have memory
};

}  // namespace vivace
