// Plans that are kept against plans that are made anew, for batches that grow as decoding does; and whether they have
// every chunk that a row sees under a pattern, and none twice.
#include "cuda/program/kept_row_plan.h"

#include <algorithm>
#include <random>

#include "test/cuda/report.h"

namespace vivace::cuda {
namespace {

std::mt19937 generator(5);
int below(int count) {
  return static_cast<int>(generator() % static_cast<unsigned>(count));
}

// Arrays as the round's block has them, poisoned.
struct Arrays {
  std::vector<RowUnit> units;
  std::vector<RowRun> runs;
  std::vector<int32_t> states;
  explicit Arrays(size_t rows)
      : units(2 * rows + 1, RowUnit{77, 77, 77, 77, 77}),
        runs(rows / many_rows + 1, RowRun{77, 77}),
        states(rows, 77) {}
  RowPlan plan() { return {units.data(), runs.data(), states.data()}; }
  std::vector<int32_t> words() const {
    std::vector<int32_t> all = states;
    for (const RowUnit& unit : units)
      all.insert(all.end(), {unit.row, unit.rows, unit.chunk, unit.first_chunk, unit.first_item});
    for (const RowRun& run : runs) all.insert(all.end(), {run.row, run.rows});
    return all;
  }
};

bool same(const RowPlanSizes& a, const RowPlanSizes& b) {
  return a.units == b.units && a.items == b.items && a.runs == b.runs && a.states == b.states && a.several == b.several;
}

Pattern some_pattern() {
  Pattern pattern = {};
  const int kind = below(4);
  if (kind == 1 || kind == 2) pattern.window = 1 + below(3) * 700 + below(500);
  if (kind == 2) pattern.sinks = 1;
  if (kind == 3) {
    pattern.block = 16 << below(4);
    pattern.local = 1 + below(20);
    pattern.stride = 1 + below(12);
    pattern.always_first = below(2);
    pattern.dense_heads = below(5) == 0 ? 1 : 0;
  }
  return pattern;
}

// Rows that some chunk lacks, or has twice, or for which there are more states than chunks.
int badly_planned(const std::vector<int32_t>& visible, const Pattern& pattern, const Arrays& plan,
                  const RowPlanSizes& sizes) {
  int bad = 0;
  std::vector<std::vector<int>> chunks(visible.size());
  for (int u = 0; u < sizes.units; ++u) {
    const RowUnit& unit = plan.units[static_cast<size_t>(u)];
    const int count = plan.units[static_cast<size_t>(u) + 1].first_item - unit.first_item;
    for (int r = unit.row; r < unit.row + unit.rows; ++r) {
      bad += unit.chunk != chunk_of(pattern, visible[static_cast<size_t>(r)]);
      for (int i = 0; i < count; ++i) chunks[static_cast<size_t>(r)].push_back(unit.first_chunk + i);
    }
  }
  for (size_t r = 0; r < visible.size(); ++r) {
    if (plan.states[r] == in_run) continue;
    const int slots = visible[r], chunk = chunk_of(pattern, slots), first = first_slot(pattern, slots) / chunk;
    const int end = (most_slots(pattern, slots) + chunk - 1) / chunk;
    for (int c = first; c < end; ++c) bad += std::count(chunks[r].begin(), chunks[r].end(), c) != 1;
    for (const int c : chunks[r]) bad += c >= end;
    bad += plan.states[r] >= 0 && plan.states[r] + end - first > sizes.states;
    bad += plan.states[r] == one_chunk && end - first > 1;
    // What the heads see is never beyond the plan.
    for (int head = 0; pattern.block > 0 && slots > 0 && head < 5; ++head) {
      Pattern own = pattern;
      own.head_offset = below(40);
      const BlockOrder order(own, head, (slots - 1) / own.block);
      const int last = order.count(slots);
      bad += last > most_slots(pattern, slots) || order.own_slot(last - 1) != slots - 1;
      for (int n = 1; n < last; ++n) bad += order.own_slot(n) <= order.own_slot(n - 1);
    }
  }
  return bad;
}

void plans() {
  int wrong = 0, bad = 0, rounds = 0;
  int64_t made = 0;
  for (int trial = 0; trial < 60; ++trial) {
    // Sequences with one row, or with some neighbours, or now and then a prompt's chunk.
    std::vector<int32_t> sequences, visible;
    for (int s = 0; s < 1 + below(5); ++s) {
      const int rows = below(3) == 0 ? 1 + below(9) : below(8) == 0 ? 40 : 1;
      const int length = (below(2) != 0 ? 128 * (1 + below(70)) : below(9000)) + below(5);
      for (int i = 0; i < rows; ++i) {
        sequences.push_back(s);
        visible.push_back(length + i);
      }
    }
    const Pattern pattern = some_pattern();
    const std::vector<uint8_t> drafted(sequences.size(), 1);
    KeptRowPlan kept;
    for (int round = 0; round < 150; ++round, ++rounds) {
      VivaceDeviceBatch batch{};
      batch.sequences = sequences.data();
      batch.visible = visible.data();
      batch.drafted = below(20) == 0 ? drafted.data() : nullptr;
      const auto rows = static_cast<int64_t>(sequences.size());
      Arrays a(sequences.size()), b(sequences.size());
      const RowPlanSizes one = kept.plan(batch, rows, pattern, a.plan());
      const RowPlanSizes other = plan_rows(batch, rows, pattern, b.plan());
      wrong += !same(one, other) || a.words() != b.words();
      if (round % 10 == 0) bad += badly_planned(visible, pattern, a, one);
      for (int32_t& length : visible) length += below(10) == 0 ? 0 : 1;
    }
    made += kept.made();
  }
  report("kept plans are those of each run", wrong == 0, std::to_string(wrong) + " wrong");
  report("every chunk that a row sees is in one unit", bad == 0, std::to_string(bad) + " bad");
  report("most of them were kept", 2 * made < rounds, std::to_string(made) + " of " + std::to_string(rounds));

  // One sequence that decodes: a plan per chunk of 128 slots, and one where the slots are whole chunks.
  KeptRowPlan kept;
  int32_t sequence = 0, length = 1000;
  for (int round = 0; round < 256; ++round, ++length) {
    VivaceDeviceBatch batch{};
    batch.sequences = &sequence;
    batch.visible = &length;
    Arrays arrays(1);
    kept.plan(batch, 1, {}, arrays.plan());
  }
  report("a sequence makes two per 128 tokens", kept.made() == 5, std::to_string(kept.made()));
}

}  // namespace
}  // namespace vivace::cuda

int main() {
  return vivace::cuda::run_checks([] { vivace::cuda::plans(); });
}
