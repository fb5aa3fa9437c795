// Drafts by a second program: chains and trees of what it says behind a text, computed between two rounds of the
// program that verifies them. It has a sequence of a KV cache of its own, which nobody else touches during the run.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "caches/paged_kv.h"
#include "decode/draft/drafter.h"
#include "decode/sample.h"
#include "decode/tree/growing_tree.h"
#include "decode/verify/proposal.h"
#include "program/batch_rows.h"
#include "program/rounds/draft_study.h"
#include "program/rounds/executable_state.h"
#include "program/rounds/grow_trees.h"

namespace vivace {

// Which trees are drafted.
struct DrawnShapes {
  TreeShape grown;  // how they grow where tokens are chosen and none is fixed; a draft's size limits them further
  std::vector<TreeShape> fixed;  // the tree of so many nodes (`TreeShape::nodes`), ascending; drawn ones are
  TreeShape of(DraftSize size) const;
};

// Of a program that reads, beside a token, what the verifying one knew of the row before it.
struct HeadOptions {
  int features = -1;  // the input, [rows, width]; -1: it is none of these
  int64_t width = 0;
  FeatureLink link;                      // rows of a draft read what those before them left
  std::shared_ptr<ExecutableState> fed;  // runs these; null: the program itself
};

struct ModelDrafterOptions {
  std::shared_ptr<ExecutableState> state;
  std::shared_ptr<PagedKv> kv;
  int sequence = 0;
  int logits = 0;                // the value that is drawn from
  Sampler* sampler = nullptr;    // it has heard the same text; this and the next one outlive the drafter
  Proposal* proposal = nullptr;  // what tokens are drawn from, on record; null: the most probable ones are chosen
  float least = 0;               // of a chain: nothing follows a token that the program finds less probable
  int64_t context = 0;           // no draft goes beyond so many tokens of text
  DrawnShapes shapes;            // of trees
  bool studies = false;          // what becomes of trees is counted
  HeadOptions head;
};

// The text's tokens are read when a draft is wanted: those of the last draft that were kept have been, by then. A head
// reads them again, for what the verifying program knew of them replaces what it foretold; its row i is that program's
// i-th row that it heard of, and the token that came after it. Members but prepare() do not change the cache's tables,
// so that they may run on any thread.
class ModelDrafter final : public Drafter {
 public:
  explicit ModelDrafter(ModelDrafterOptions options) : options_(std::move(options)) {}

  void accept(const int32_t* tokens, int64_t count) override;
  void hear(const float* features, int64_t rows) override;
  int64_t width() const override { return options_.head.width; }
  void draft(int max_tokens, int max_nodes, Draft& out) override;
  void set_terms(const DraftTerms& terms) override { terms_ = terms; }
  const Proposal* proposal() const override { return options_.proposal; }
  // Those of one program and cache go through it together, token by token or level by level.
  const void* group() const override { return options_.kv.get(); }
  void draft_together(std::vector<DraftAsk>& asks) override;
  // Says to the cache what of the text it holds, and gets memory for more. Throws OUT_OF_MEMORY.
  void prepare(int64_t tokens, DraftSize most) override;
  bool fits(DraftSize size) const override;
  int64_t bytes() const override { return 0; }
  void studied(std::vector<int32_t>& out) override { study_.take(out); }
  // A text that was said stays: throw INTERNAL.
  void truncate(int64_t length) override;
  std::unique_ptr<Drafter> fork() const override;

 private:
  struct Seat;
  struct Step;
  bool is_head() const { return options_.head.features >= 0; }
  // Cells of what is known of the text, read or not.
  int64_t known() const { return cells_ + static_cast<int64_t>(pending_.size()); }
  bool can_begin() const;
  void read_most();
  int64_t cells_for(DraftSize size) const;
  int64_t keep_chain(const int32_t* tokens, int64_t count);
  int64_t keep_tree(const int32_t* tokens, int64_t count);
  void has_read();
  void draft_chains(std::vector<Seat> seats);
  void draft_trees(const std::vector<Seat>& seats);

  ModelDrafterOptions options_;
  DraftTerms terms_;
  int64_t text_ = 0;              // tokens
  int64_t cells_ = 0;             // of the text that are computed
  std::vector<int32_t> pending_;  // tokens of the text behind them
  std::vector<float> features_;   // theirs, of a head
  int64_t end_ = 0;               // cells that have memory
  // The last draft: a chain, which the sampler takes for text, and all but whose last token is computed; or a tree, and
  // which of the cells behind the text its nodes have.
  std::vector<int32_t> chain_;
  Draft tree_;
  std::vector<int32_t> tree_rows_;
  DraftStudy study_;
};

}  // namespace vivace
