// Trees that a model on the device drafts: it ranks or draws a level's children itself, and laws that children are
// drawn from stay there. The host gets the rows of logits where the tree is for a target elsewhere, because its laws
// must be here then, and of heads where each path has a ranking of its own, or drawn children.
#include <algorithm>
#include <cmath>

#include "device/device_executable.h"
#include "device/device_laws.h"

namespace vivace {
namespace {

// The most children that a node of a level, the root's being 0, can have.
int32_t most_children(const TreeShape& shape, int64_t level) {
  if (shape.parents.empty()) return shape.top_k;
  std::vector<int64_t> depths;
  std::vector<int32_t> children(shape.parents.size() + 1, 0);
  int32_t most = 0;
  for (const int32_t parent : shape.parents) {
    depths.push_back(parent < 0 ? 0 : depths[static_cast<size_t>(parent)] + 1);  // of the parent
    const int32_t count = ++children[static_cast<size_t>(parent + 1)];
    if (depths.back() == level) most = std::max(most, count);
  }
  return most;
}

void rank(VivaceDeviceDraw& draw, int32_t count) {
  draw.temperature = 0;  // nothing is drawn
  draw.ranked = 1;
  draw.top = count;
}

}  // namespace

// All trees of a run by as many levels, and nothing else drawn; 1 otherwise.
int64_t DeviceExecutable::levels_of(const Draws& draws) {
  if (draws.trees.empty() || !draws.walks.empty()) return 1;
  for (const Sampler* sampler : draws.samplers)
    if (sampler != nullptr) return 1;
  for (const TreeRows& rows : draws.trees)
    if (rows.levels != draws.trees.front().levels) return 1;
  return std::max<int64_t>(1, draws.trees.front().levels);
}

// Heads give every path of a level the same logits: they are ranked once.
void DeviceExecutable::describe_levels(const TreeRows& rows) {
  const GrowingTree& tree = *rows.tree;
  const size_t first = first_draw(rows);
  const bool host = tree.proposal() != nullptr || tree.sampler().depends_on_text() || levels_ != rows.levels;
  for (size_t level = 0; level < static_cast<size_t>(levels_); ++level) {
    VivaceDeviceDraw& draw = run_->draws[first + level];
    describe(first + level, tree.sampler(), {});
    if (draw.how != VIVACE_DRAW_HERE) continue;
    rank(draw, std::max(1, most_children(tree.shape(), static_cast<int64_t>(level))));
    if (!host) continue;
    draw = {};
    draw.how = VIVACE_DRAW_HOST;
  }
}

void DeviceExecutable::describe(const TreeRows& rows) {
  if (rows.levels > 0) return describe_levels(rows);
  const GrowingTree& tree = *rows.tree;
  Proposal* const proposal = tree.proposal();
  const bool host = proposal != nullptr && proposal->place != place();
  const std::vector<GrowingTree::Wanted> wanted = tree.wanted();
  const size_t first = first_draw(rows);
  for (size_t i = 0; i < wanted.size(); ++i) {
    describe(first + i, tree.sampler(), wanted[i].path);
    VivaceDeviceDraw& draw = run_->draws[first + i];
    if (draw.how != VIVACE_DRAW_HERE) continue;
    draw.top = 0;
    if (proposal == nullptr) {
      rank(draw, wanted[i].children);
      continue;
    }
    if (!proposal->laws && !host) proposal->laws = std::make_shared<DeviceLaws>(options_.library, options_.device);
    draw.laws = host ? nullptr : static_cast<DeviceLaws&>(*proposal->laws).handle();
    draw.law_node = wanted[i].node + 1;
    draw.children = wanted[i].children;
    draw.lane = wanted[i].lane;
  }
  for (size_t i = 0; host && i < wanted.size(); ++i) {
    run_->draws[first + i] = {};
    run_->draws[first + i].how = VIVACE_DRAW_HOST;
  }
}

// What the card has ranked or drawn; or why not.
SampleError DeviceExecutable::children_of(size_t at, std::vector<TokenLogprob>& children) const {
  const VivaceDeviceDraw& draw = run_->draws[at];
  const VivaceDeviceChoice& choice = run_->choices[at];
  if (draw.how == VIVACE_DRAW_NONE) return SampleError::disposed;
  const int32_t most = draw.children > 0 ? draw.children : std::min(draw.top, draw.vocab);
  for (int32_t k = 0; choice.top != nullptr && k < most; ++k) {
    if (choice.top[k].token < 0 || std::isinf(choice.top[k].logprob)) break;
    children.push_back({choice.top[k].token, choice.top[k].logprob});
  }
  return static_cast<SampleError>(choice.error);
}

void DeviceExecutable::take_levels(const TreeRows& rows, Drawn& drawn) {
  GrowingTree& tree = *rows.tree;
  for (size_t level = 0; level < static_cast<size_t>(levels_) && !tree.level().empty(); ++level) {
    std::vector<TokenLogprob> best;
    const SampleError error = children_of(first_draw(rows) + level, best);
    std::vector<std::vector<TokenLogprob>> children;
    for (const GrowingTree::Wanted& wanted : tree.wanted()) {
      const size_t count = std::min(best.size(), static_cast<size_t>(wanted.children));
      children.emplace_back(best.begin(), best.begin() + static_cast<int64_t>(count));
    }
    tree.take(children, std::vector<SampleError>(children.size(), error));
  }
  tree.stop();
  if (tree.error() == SampleError::none) tree.sampler().looked();
  if (tree.error() != SampleError::none) drawn.results[static_cast<size_t>(rows.output)].error = tree.error();
}

void DeviceExecutable::take(const TreeRows& rows, Drawn& drawn) {
  if (rows.levels > 0) return take_levels(rows, drawn);
  GrowingTree& tree = *rows.tree;
  const size_t count = tree.level().size();
  std::vector<std::vector<TokenLogprob>> children(count);
  std::vector<SampleError> errors(count, SampleError::disposed);
  for (size_t i = 0; i < count; ++i) errors[i] = children_of(first_draw(rows) + i, children[i]);
  tree.take(children, errors);
  if (tree.error() == SampleError::none) tree.sampler().looked();
  if (tree.error() != SampleError::none) drawn.results[static_cast<size_t>(rows.output)].error = tree.error();
}

}  // namespace vivace
