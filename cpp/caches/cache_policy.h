// What a KV cache keeps of its cells and which of them a row sees, as numbers: lib/program/kv-policy.ts makes them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "caches/labels/labels.h"

namespace vivace {

// Which older cells a row at position p of one layer sees, and so which of them are kept: the first `sinks`, those with
// p − j < window, and in blocks of `block` cells, where block i has the row, block m if i − m < local or (m + offset of
// the KV head) mod stride = 0. All zero: every cell.
struct LayerPattern {
  int sinks = 0;
  int window = 0;  // the row's own cell counted
  int block = 0;   // not together with a window
  int local = 0, stride = 0;
  int head_step = 0, head_offset = 0;  // KV head h has the offset head_offset + h · head_step
  int dense_heads = 0;                 // so many of the last KV heads see every cell
  bool always_first = false;           // block 0 is seen by every row

  bool full() const { return window == 0 && block == 0; }
  bool operator==(const LayerPattern&) const = default;
};

// At which distance a row sees sinks that its window has left: `ceiling`, at `limit`; else as if nothing lay between
// sinks and window, so that the row had index min(p, limit).
struct SinkRotation {
  bool ceiling = false;
  int limit = 0;
  std::vector<std::vector<double>> tables;  // radians per position of each pair, which lie half of all apart
  std::vector<int32_t> layers;              // which of them; -1: the layer rotates nothing

  bool operator==(const SinkRotation&) const = default;
};

// Sines and cosines that turn vectors by a number of positions, for each table of a rotation side by side: [half]
// cosines, [half] sines.
class SinkAngles {
 public:
  SinkAngles() = default;
  // `sinks`: the most of a layer.
  SinkAngles(const SinkRotation& rotation, int sinks);
  int64_t width() const { return width_; }  // of all tables
  int64_t offset(int table) const { return offsets_[static_cast<size_t>(table)]; }
  const float* sinks() const { return sinks_.empty() ? nullptr : sinks_.data(); }  // [sinks][width]
  // What takes a key back to position 0 from that of its sink.
  const float* of_sink(int table, int sink) const { return sinks_.data() + sink * width_ + offset(table); }
  // What takes the query at `position` to the distance of sinks that its window has left; `out`: [width].
  void of_query(const SinkRotation& rotation, int64_t position, float* out) const;

 private:
  static void turn(const SinkRotation& rotation, double positions, float* out);
  int64_t width_ = 0;
  std::vector<int64_t> offsets_;
  std::vector<float> sinks_;  // [sinks][width]
};

enum class SnapPooling { none, max, avg };
enum class SnapAggregation { mean, max, sum };

// Li et al. 2024, with one selection per KV head.
struct SnapOptions {
  int budget = 0;  // cells that stay of a prompt, the window's included; 0: all of them
  int window = 0;  // last cells of a prompt: they stay, and their rows vote, as far as they are of this prompt
  int kernel = 1;  // cells over which votes are pooled; odd
  SnapPooling pooling = SnapPooling::none;
  SnapAggregation aggregation = SnapAggregation::mean;  // of the query heads that share a KV head
  int least = 0;       // cells of a sequence that are not compressed, at least `budget`
  int keep_first = 0;  // first cells, which stay whatever their votes are
  int group = 1;       // query heads per KV head, at most

  bool operator==(const SnapOptions&) const = default;
};

struct CachePolicy {
  std::vector<LayerPattern> layers;  // empty: every layer keeps and sees all
  SinkRotation rotation;             // without tables: sinks are seen at their true distance
  LabelOptions labels;               // behind all layers of a page, of those that have them: [sets][LabelLayout]
  SnapOptions snap;

  // Nothing of it differs from a cache without a policy.
  bool full() const { return layers.empty() && labels.channels == 0 && snap.budget == 0; }
  bool operator==(const CachePolicy&) const = default;
};

}  // namespace vivace
