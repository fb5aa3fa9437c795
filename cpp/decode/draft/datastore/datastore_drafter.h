// Drafts from a datastore (REST: He et al., "REST: Retrieval-Based Speculative Decoding", 2023): what followed the
// text's last tokens in other texts.
//
// The longest end of the text, of min_span to max_span tokens, that the datastore holds is looked up. What follows its
// occurrences there, up to the end of their texts, is merged into a tree by common beginnings; a node's score is the
// share of the occurrences that pass it. Of more occurrences than `samples`, so many are taken at equal distances in
// the order of what follows them, so that shares stay right to 1 / samples.
#pragma once
#include "decode/draft/candidate_tree.h"
#include "decode/draft/datastore/datastore.h"

namespace vivace {

struct DatastoreOptions {
  int min_span = 2, max_span = 16;
  int samples = 128;
  std::shared_ptr<const Datastore> datastore;
};

class DatastoreDrafter final : public Drafter {
 public:
  explicit DatastoreDrafter(const DatastoreOptions& options) : options_(options) {}
  void accept(const int32_t* tokens, int64_t count) override { append_text(text_, tokens, count); }
  void truncate(int64_t length) override {
    if (length < static_cast<int64_t>(text_.size())) text_.resize(static_cast<size_t>(length));
  }
  void draft(int max_tokens, int max_nodes, Draft& out) override;
  std::unique_ptr<Drafter> fork() const override { return std::make_unique<DatastoreDrafter>(*this); }
  int64_t bytes() const override { return static_cast<int64_t>(text_.capacity() * sizeof(int32_t)); }

 private:
  Datastore::Range longest(int& span) const;

  DatastoreOptions options_;
  std::vector<int32_t> text_;
  CandidateTree tree_;
};

}  // namespace vivace
