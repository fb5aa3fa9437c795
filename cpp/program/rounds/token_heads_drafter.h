// Drafts by heads that each say one token further on from what the verifying program knew of its last row, whatever
// stands between: one run of one row. Between two rounds of that program, as ModelDrafter's.
#pragma once
#include <cstdint>
#include <vector>

#include "program/rounds/draft_study.h"
#include "program/rounds/model_drafter.h"

namespace vivace {

class TokenHeadsDrafter final : public Drafter {
 public:
  // `levels`: how many heads, whose logits an output has side by side.
  TokenHeadsDrafter(ModelDrafterOptions options, int levels) : options_(std::move(options)), levels_(levels) {}

  void accept(const int32_t* tokens, int64_t count) override;
  void hear(const float* features, int64_t rows) override;
  int64_t width() const override { return options_.head.width; }
  void draft(int max_tokens, int max_nodes, Draft& out) override;
  void set_terms(const DraftTerms& terms) override { terms_ = terms; }
  const Proposal* proposal() const override { return options_.proposal; }
  const void* group() const override { return options_.kv.get(); }
  void draft_together(std::vector<DraftAsk>& asks) override;
  void prepare(int64_t tokens, DraftSize most) override;
  int64_t bytes() const override { return 0; }
  // A text that was said stays: throw INTERNAL.
  void truncate(int64_t length) override;
  std::unique_ptr<Drafter> fork() const override;
  void studied(std::vector<int32_t>& out) override { study_.take(out); }

 private:
  TreeShape shape_for(DraftSize size) const;
  ModelDrafterOptions options_;
  int levels_;
  DraftTerms terms_;
  int64_t text_ = 0;             // tokens
  std::vector<float> features_;  // of the row before the text's last token; empty: not known
  DraftStudy study_;
};

}  // namespace vivace
