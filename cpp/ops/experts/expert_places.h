// Experts of a layer that are in memory one by one, and are computed in waves as they arrive (experts/expert_store.h).
// Data alone: kernels of all levels read it. It takes the place of an input that no op of experts has.
#pragma once
#include <cstddef>

namespace vivace {

inline constexpr int places_input = 5;  // OpRun::inputs[places_input].data, where a call's matrices have no data

struct ExpertPlaces {
  // gate, up and down: [experts], null for an expert that this wave does not compute.
  const std::byte* const* matrices[3] = {};
  bool last = false;  // the wave after which every chosen expert was computed
};

}  // namespace vivace
