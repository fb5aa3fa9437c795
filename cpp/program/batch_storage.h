// Builds the rows of a run from what the caller asks for, and owns their arrays. Reused from run to run.
#pragma once
#include <cstdint>
#include <vector>

#include "decode/verify/verify.h"
#include "program/batch.h"

namespace vivace {

class PagedKv;

struct BatchRequest {
  int64_t rows = 0;
  const int32_t* tokens = nullptr;
  const int32_t* positions = nullptr;
  const int32_t* sequences = nullptr;
  const int32_t* parents = nullptr;  // null: chains
  const int32_t* output_rows = nullptr;
  int64_t outputs = 0;
};

class BatchStorage {
 public:
  // Copies the request, reserves cells in the cache for every row and gives each row its cell and what it sees.
  // Throws INVALID_ARGUMENT or OUT_OF_MEMORY; on a throw no sequence has changed its length.
  // `ahead`: cells that each sequence may need beyond those, for follow().
  void build(const BatchRequest& request, PagedKv* kv, int ahead = 0);
  // The rows of a walk over `rows` outputs from `output` on: they must follow each other in the batch, as rows of one
  // sequence that are its last ones, the first of them an ancestor of the others; behind them there may only be rows of
  // a second reading, which are never kept. Throws INTERNAL.
  void describe(Walk& walk, int64_t rows) const;
  // After a successful run: chain rows count as committed, but of a walk's rows only those that it keeps. Other rows of
  // a run over trees wait for PagedKv::keep.
  void commit(PagedKv* kv, const std::vector<Walk>& walks = {}) const;
  // Whether follow() can be used: every sequence has one output, after its last row, and no trees.
  bool can_follow() const;
  // How often every sequence has a cell for it.
  int64_t follows() const { return follows_; }
  // The next batch: behind each output its token. The cache hears nothing of it; lengths change by PagedKv::commit.
  void follow(const int32_t* tokens);
  const Batch& batch() const { return batch_; }

 private:
  struct Group {
    int sequence;
    int first_cell;
    std::vector<int32_t> rows;
  };
  void build_masks(const BatchRequest& request);
  Batch batch_;
  std::vector<int32_t> tokens_, positions_, sequences_, cells_, first_cells_, visible_, output_rows_, added_positions_,
      added_offsets_, ordinals_, parents_;
  std::vector<uint64_t> masks_;
  std::vector<Group> groups_;
  bool tree_ = false;
  int64_t follows_ = 0;
};

}  // namespace vivace
