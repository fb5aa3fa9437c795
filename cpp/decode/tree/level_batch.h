// The rows of one level of some trees as a batch: behind the rows of a first run, of which each tree's root was one.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "decode/tree/growing_tree.h"
#include "program/batch_rows.h"

namespace vivace {

// A tree in a run: its level's logits are the outputs from `output` on. With `levels`, that output's row has the logits
// of so many levels side by side, and the tree is grown by them.
struct TreeRows {
  GrowingTree* tree = nullptr;
  int64_t output = 0;
  int64_t levels = 0;
};

class LevelBatch {
 public:
  static constexpr int64_t most_cells = 512;  // of a tree
  // `first`: the run that computes the roots, each an output and the last row of its sequence, with chain rows only.
  // `cells`: how many a root's sequence has behind it; more than most_cells are not used.
  void begin(const Batch& first, const std::vector<TreeRows>& trees,
             const std::function<int64_t(int64_t output)>& cells);
  // The next level of all trees that have one and cells for it; the others are stopped. Sets `output` of each. False:
  // there is none.
  bool build(std::vector<TreeRows>& trees);
  const Batch& batch() const { return batch_; }
  // Per row of the batch: the output of the run before it that its parent was.
  const std::vector<int32_t>& parent_outputs() const { return parent_outputs_; }

 private:
  struct Root {
    int32_t sequence, cell, position;
    int64_t cells;                 // behind it
    std::vector<int32_t> outputs;  // of the level before
    std::vector<int32_t> nodes;    // and its nodes
  };
  Batch batch_;
  std::vector<Root> roots_;
  BatchRows rows_;
  std::vector<int32_t> parent_outputs_;
};

}  // namespace vivace
