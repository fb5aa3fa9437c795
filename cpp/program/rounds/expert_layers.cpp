#include "program/rounds/expert_layers.h"

#include <cstring>

namespace vivace {
namespace {

bool is(const CallInfo& call, const char* name) {
  return std::strcmp(call.op->name, name) == 0;
}

// The call that makes a value, or -1.
int maker(const Program& program, int value) {
  for (size_t i = 0; i < program.calls.size(); ++i)
    for (const int output : program.calls[i].outputs)
      if (output == value) return static_cast<int>(i);
  return -1;
}

// The matrix of the router whose logits a call reads, or -1.
int router(const Program& program, int route) {
  const int at = maker(program, program.calls[static_cast<size_t>(route)].inputs[0]);
  if (at < 0 || !is(program.calls[static_cast<size_t>(at)], "linear")) return -1;
  return program.calls[static_cast<size_t>(at)].inputs[1];
}

}  // namespace

ExpertLayers::ExpertLayers(const Program& program) : roles(program.calls.size()) {
  for (size_t i = 0; i < program.calls.size(); ++i) {
    const CallInfo& call = program.calls[i];
    if (is(call, "expert_gate_up")) {
      ExpertLayer layer;
      layer.gate_up = static_cast<int>(i);
      layer.route = maker(program, call.inputs[3]);
      layer.experts = static_cast<int64_t>(call.attributes[0]);
      layer.used = program.values[static_cast<size_t>(call.inputs[3])].columns;
      layer.matrices[0] = call.inputs[1];
      layer.matrices[1] = call.inputs[2];
      layers.push_back(layer);
    }
    if (is(call, "expert_down") && !layers.empty() && layers.back().down < 0) {
      layers.back().down = static_cast<int>(i);
      layers.back().matrices[2] = call.inputs[1];
    }
  }
  // Two calls that ask the same router differ in what they read: the one whose ids experts read is the layer's own.
  for (size_t l = 0; l < layers.size(); ++l) {
    if (layers[l].route < 0 || !is(program.calls[static_cast<size_t>(layers[l].route)], "route")) continue;
    roles[static_cast<size_t>(layers[l].route)] = {static_cast<int>(l), false};
    const int asked = router(program, layers[l].route);
    for (size_t i = 0; i < program.calls.size(); ++i)
      if (is(program.calls[i], "route") && static_cast<int>(i) != layers[l].route && asked >= 0 &&
          router(program, static_cast<int>(i)) == asked)
        roles[i] = {static_cast<int>(l), true};
  }
}

}  // namespace vivace
