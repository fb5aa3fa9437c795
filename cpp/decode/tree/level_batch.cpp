#include "decode/tree/level_batch.h"

#include <algorithm>

namespace vivace {

void LevelBatch::begin(const Batch& first, const std::vector<TreeRows>& trees,
                       const std::function<int64_t(int64_t output)>& cells) {
  roots_.clear();
  for (const TreeRows& tree : trees) {
    const int32_t row = first.output_rows[tree.output];
    Root root;
    root.sequence = first.sequences[row];
    root.cell = first.cells[row];
    root.position = first.positions[row];
    root.cells = std::min(cells(tree.output), most_cells);
    root.outputs = {static_cast<int32_t>(tree.output)};
    root.nodes = {-1};
    roots_.push_back(std::move(root));
  }
}

bool LevelBatch::build(std::vector<TreeRows>& trees) {
  for (auto* list : {&tokens_, &positions_, &sequences_, &cells_of_, &first_cells_, &visible_, &added_positions_,
                     &added_offsets_, &output_rows_, &parent_outputs_})
    list->clear();
  size_t longest = 0;
  for (size_t i = 0; i < trees.size(); ++i) {
    GrowingTree& tree = *trees[i].tree;
    if (static_cast<int64_t>(tree.rows().size()) > roots_[i].cells) tree.stop();
    if (!tree.level().empty()) longest = std::max(longest, tree.rows().size());
  }
  if (longest == 0) return false;
  const size_t words = (longest + 63) / 64;
  masks_.clear();
  for (size_t i = 0; i < trees.size(); ++i) {
    const GrowingTree& tree = *trees[i].tree;
    Root& root = roots_[i];
    trees[i].output = static_cast<int64_t>(tokens_.size());
    if (tree.level().empty()) continue;
    const auto offset = static_cast<int32_t>(added_positions_.size());
    for (const int32_t node : tree.rows())
      added_positions_.push_back(root.position + tree.nodes()[static_cast<size_t>(node)].depth);
    std::vector<int32_t> outputs;
    for (const int32_t index : tree.level()) {
      const GrowingTree::Node& node = tree.nodes()[static_cast<size_t>(index)];
      const auto parent = std::find(root.nodes.begin(), root.nodes.end(), node.parent) - root.nodes.begin();
      parent_outputs_.push_back(root.outputs[static_cast<size_t>(parent)]);
      const auto row = static_cast<int32_t>(tokens_.size());
      outputs.push_back(row);
      output_rows_.push_back(row);
      tokens_.push_back(node.token);
      positions_.push_back(root.position + node.depth);
      sequences_.push_back(root.sequence);
      first_cells_.push_back(root.cell + 1);
      visible_.push_back(root.cell + 1);
      cells_of_.push_back(root.cell + 1 + node.row);
      added_offsets_.push_back(offset);
      masks_.resize(masks_.size() + words);
      uint64_t* mask = masks_.data() + masks_.size() - words;
      for (int32_t at = index; at >= 0; at = tree.nodes()[static_cast<size_t>(at)].parent) {
        const auto bit = static_cast<size_t>(tree.nodes()[static_cast<size_t>(at)].row);
        mask[bit / 64] |= uint64_t{1} << (bit % 64);
      }
    }
    root.outputs = std::move(outputs);
    root.nodes = tree.level();
  }
  batch_ = {};
  batch_.rows = batch_.outputs = static_cast<int64_t>(tokens_.size());
  batch_.tokens = tokens_.data();
  batch_.positions = positions_.data();
  batch_.sequences = sequences_.data();
  batch_.cells = cells_of_.data();
  batch_.first_cells = first_cells_.data();
  batch_.visible = visible_.data();
  batch_.tree_mask = masks_.data();
  batch_.tree_words = static_cast<int64_t>(words);
  batch_.added_positions = added_positions_.data();
  batch_.added = static_cast<int64_t>(added_positions_.size());
  batch_.added_offsets = added_offsets_.data();
  batch_.output_rows = output_rows_.data();
  return true;
}

}  // namespace vivace
