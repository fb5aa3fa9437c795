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
  rows_.clear();
  parent_outputs_.clear();
  size_t longest = 0;
  for (size_t i = 0; i < trees.size(); ++i) {
    GrowingTree& tree = *trees[i].tree;
    if (static_cast<int64_t>(tree.rows().size()) > roots_[i].cells) tree.stop();
    if (!tree.level().empty()) longest = std::max(longest, tree.rows().size());
  }
  if (longest == 0) return false;
  const size_t words = rows_.words = (longest + 63) / 64;
  for (size_t i = 0; i < trees.size(); ++i) {
    const GrowingTree& tree = *trees[i].tree;
    Root& root = roots_[i];
    trees[i].output = static_cast<int64_t>(rows_.tokens.size());
    if (tree.level().empty()) continue;
    const auto offset = static_cast<int32_t>(rows_.added_positions.size());
    for (const int32_t node : tree.rows())
      rows_.added_positions.push_back(root.position + tree.nodes()[static_cast<size_t>(node)].depth);
    std::vector<int32_t> outputs;
    for (const int32_t index : tree.level()) {
      const GrowingTree::Node& node = tree.nodes()[static_cast<size_t>(index)];
      const auto parent = std::find(root.nodes.begin(), root.nodes.end(), node.parent) - root.nodes.begin();
      parent_outputs_.push_back(root.outputs[static_cast<size_t>(parent)]);
      const auto row = static_cast<int32_t>(rows_.tokens.size());
      outputs.push_back(row);
      rows_.output_rows.push_back(row);
      rows_.tokens.push_back(node.token);
      rows_.positions.push_back(root.position + node.depth);
      rows_.sequences.push_back(root.sequence);
      rows_.first_cells.push_back(root.cell + 1);
      rows_.visible.push_back(root.cell + 1);
      rows_.cells.push_back(root.cell + 1 + node.row);
      rows_.added_offsets.push_back(offset);
      rows_.masks.resize(rows_.masks.size() + words);
      uint64_t* mask = rows_.masks.data() + rows_.masks.size() - words;
      for (int32_t at = index; at >= 0; at = tree.nodes()[static_cast<size_t>(at)].parent) {
        const auto bit = static_cast<size_t>(tree.nodes()[static_cast<size_t>(at)].row);
        mask[bit / 64] |= uint64_t{1} << (bit % 64);
      }
    }
    root.outputs = std::move(outputs);
    root.nodes = tree.level();
  }
  batch_ = rows_.show();
  return true;
}

}  // namespace vivace
