// Which calls of a program choose experts, predict those of a later layer, and multiply with them.
#pragma once
#include <vector>

#include "program/program.h"

namespace vivace {

struct ExpertLayer {
  int route = -1, gate_up = -1, down = -1;  // calls
  int64_t experts = 0, used = 0;
  int matrices[3] = {-1, -1, -1};  // values: gate, up and down of all its experts
};

// What a call that routes does: it chooses for layer `layer`, or predicts what that one will choose. -1: no such call.
struct RouteRole {
  int layer = -1;
  bool predicts = false;
};

struct ExpertLayers {
  explicit ExpertLayers(const Program& program);
  std::vector<ExpertLayer> layers;  // in the order of the program
  std::vector<RouteRole> roles;     // per call
};

}  // namespace vivace
