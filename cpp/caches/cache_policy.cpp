#include "caches/cache_policy.h"

#include <algorithm>
#include <cmath>

namespace vivace {

SinkAngles::SinkAngles(const SinkRotation& rotation, int sinks) {
  for (const std::vector<double>& table : rotation.tables) {
    offsets_.push_back(width_);
    width_ += 2 * static_cast<int64_t>(table.size());
  }
  if (!rotation.ceiling) return;
  sinks_.resize(static_cast<size_t>(sinks * width_));
  for (int sink = 0; sink < sinks; ++sink) turn(rotation, -sink, sinks_.data() + sink * width_);
}

void SinkAngles::of_query(const SinkRotation& rotation, int64_t position, float* out) const {
  const int64_t wanted = rotation.ceiling ? rotation.limit : std::min<int64_t>(position, rotation.limit);
  turn(rotation, static_cast<double>(wanted - position), out);
}

// In double precision: right at every position that there can be.
void SinkAngles::turn(const SinkRotation& rotation, double positions, float* out) {
  for (const std::vector<double>& table : rotation.tables) {
    for (size_t i = 0; i < table.size(); ++i) {
      out[i] = static_cast<float>(std::cos(positions * table[i]));
      out[table.size() + i] = static_cast<float>(std::sin(positions * table[i]));
    }
    out += 2 * table.size();
  }
}

}  // namespace vivace
