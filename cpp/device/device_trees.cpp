// Trees that a model on the device drafts: it ranks or draws a level's children itself, and laws that children are
// drawn from stay there. The host gets the rows of logits where penalties or a bias change what is ranked, and where
// the tree is for a target elsewhere, because its laws must be here then.
#include <cmath>

#include "device/device_executable.h"
#include "device/device_laws.h"

namespace vivace {

void DeviceExecutable::describe(const TreeRows& rows) {
  const GrowingTree& tree = *rows.tree;
  Proposal* const proposal = tree.proposal();
  bool host = rows.levels > 0 || (proposal != nullptr && proposal->place != place());
  const std::vector<GrowingTree::Wanted> wanted = tree.wanted();
  const auto first = static_cast<size_t>(rows.output);
  for (size_t i = 0; i < wanted.size(); ++i) {
    describe(first + i, tree.sampler(), wanted[i].path);
    VivaceDeviceDraw& draw = run_->draws[first + i];
    if (draw.how != VIVACE_DRAW_HERE) continue;
    draw.top = 0;
    if (proposal != nullptr) {
      if (!proposal->laws && !host) proposal->laws = std::make_shared<DeviceLaws>(options_.library, options_.device);
      draw.laws = host ? nullptr : static_cast<DeviceLaws&>(*proposal->laws).handle();
      draw.law_node = wanted[i].node + 1;
      draw.children = wanted[i].children;
      draw.lane = wanted[i].lane;
    } else {
      host = host || draw.bias_count > 0 || draw.repetition_penalty != 1 || draw.presence_penalty != 0 ||
             draw.frequency_penalty != 0;
      draw.temperature = 0;  // nothing is drawn
      draw.top = wanted[i].children;
    }
  }
  for (size_t i = 0; host && i < wanted.size(); ++i) {
    VivaceDeviceDraw none{};
    none.how = VIVACE_DRAW_HOST;
    run_->draws[first + i] = none;
  }
}

void DeviceExecutable::take(const TreeRows& rows, Drawn& drawn) {
  GrowingTree& tree = *rows.tree;
  const auto first = static_cast<size_t>(rows.output);
  const size_t count = tree.level().size();
  std::vector<std::vector<TokenLogprob>> children(count);
  std::vector<SampleError> errors(count, SampleError::disposed);
  for (size_t i = 0; i < count; ++i) {
    const VivaceDeviceDraw& draw = run_->draws[first + i];
    const VivaceDeviceChoice& choice = run_->choices[first + i];
    if (draw.how == VIVACE_DRAW_NONE) continue;
    errors[i] = static_cast<SampleError>(choice.error);
    const int32_t most = draw.children > 0 ? draw.children : std::min(draw.top, draw.vocab);
    for (int32_t k = 0; choice.top != nullptr && k < most; ++k) {
      if (choice.top[k].token < 0 || std::isinf(choice.top[k].logprob)) break;
      children[i].push_back({choice.top[k].token, choice.top[k].logprob});
    }
  }
  tree.take(children, errors);
  if (tree.error() != SampleError::none) drawn.results[first].error = tree.error();
}

}  // namespace vivace
