#include "program/rounds/grow_trees.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace vivace {

void grow_trees(ExecutableState& state, PagedKv* kv, const Batch& first, int logits, std::vector<TreeRows> trees,
                const std::function<int64_t(int64_t output)>& cells, const FeatureLink& link, std::vector<float> left) {
  Draws draws;
  draws.logits = logits;
  draws.trees = std::move(trees);
  LevelBatch levels;
  levels.begin(first, draws.trees, cells);
  std::vector<RunBinding> bindings;
  std::vector<float> read;
  while (levels.build(draws.trees)) {
    const Batch& level = levels.batch();
    bindings.clear();
    state.bind_batch(level, bindings);
    if (link.feeds()) {
      // Rows read what their parents left, and leave something to their children.
      const auto width =
          static_cast<size_t>(state.executable->program().values[static_cast<size_t>(link.output)].columns);
      const std::vector<int32_t>& parents = levels.parent_outputs();
      read.resize(parents.size() * width);
      for (size_t row = 0; row < parents.size(); ++row)
        std::copy_n(left.data() + static_cast<size_t>(parents[row]) * width, width, read.data() + row * width);
      left.resize(static_cast<size_t>(level.outputs) * width);
      bindings.push_back({link.input, reinterpret_cast<std::byte*>(read.data())});
      bindings.push_back({link.output, reinterpret_cast<std::byte*>(left.data())});
    }
    draws.samplers.assign(static_cast<size_t>(level.outputs), nullptr);
    draws.clear();
    std::lock_guard turn(*state.running);
    state.executable->run(level.rows, level.outputs, bindings, &level, kv, &draws);
  }
}

}  // namespace vivace
