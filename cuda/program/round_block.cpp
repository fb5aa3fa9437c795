#include "cuda/program/round_block.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "core/error.h"
#include "program/plan.h"

namespace vivace::cuda {
namespace {

constexpr int array_count = 6;
constexpr int64_t most_added = 4096;  // of all trees of a batch

int64_t aligned(int64_t bytes) {
  return (bytes + 255) / 256 * 256;
}

}  // namespace

RoundLayout::RoundLayout(const Program& program, int64_t bucket_rows, int64_t bucket_outputs, const DeviceKv& kv,
                         size_t plan_count)
    : rows(bucket_rows),
      outputs(bucket_outputs),
      plans(static_cast<int64_t>(plan_count)),
      inputs(program.values.size(), -1) {
  int64_t at = sizes_of(plan_count);
  for (size_t id = 0; id < program.values.size(); ++id) {
    const ValueInfo& value = program.values[id];
    if (value.kind != ValueKind::input) continue;
    inputs[id] = at;
    at += aligned(actual_rows(value, rows, outputs) * row_bytes(value.dtype, value.columns));
  }
  arrays = at;
  units = aligned(arrays + array_count * rows * 4);
  runs = units_of(plan_count);
  states = aligned(runs + (rows / many_rows + 1) * static_cast<int64_t>(sizeof(RowRun)));
  chosen_states = states_of(plan_count);
  masks = aligned(chosen_states + rows * 4);
  mask_words = std::max<int64_t>((rows + 63) / 64, VIVACE_TREE_CELLS / 64);
  added = aligned(masks + rows * mask_words * 8);
  angles = aligned(added + std::max(rows, most_added) * 4);
  skipped = aligned(angles + rows * kv.angles * 4);
  pages = aligned(skipped + (kv.places != nullptr ? rows * kv.groups * 4 : 0));
}

int64_t RoundLayout::sizes_of(size_t plan) const {
  return static_cast<int64_t>(plan) * aligned(sizeof(BatchSizes));
}
int64_t RoundLayout::units_of(size_t plan) const {
  return units + static_cast<int64_t>(plan) * aligned((2 * rows + 1) * static_cast<int64_t>(sizeof(RowUnit)));
}
int64_t RoundLayout::states_of(size_t plan) const {
  return states + static_cast<int64_t>(plan) * aligned(rows * 4);
}

bool RoundBlock::fits(const RoundLayout& layout, int64_t page_entries) const {
  return layout.pages + page_entries * 8 <= device_.size();
}

void RoundBlock::reserve(const RoundLayout& layout, int64_t page_entries) {
  const int64_t size = std::max((layout.pages + page_entries * 8) * 2, int64_t{1} << 18);
  for (PinnedBuffer& host : hosts_) host.reserve(size);
  device_.reserve(size);
}

DeviceBatch RoundBlock::batch(const RoundLayout& layout, size_t plan) const {
  std::byte* base = device_.data();
  const auto* arrays = reinterpret_cast<const int32_t*>(base + layout.arrays);
  DeviceBatch batch;
  batch.sizes = reinterpret_cast<const BatchSizes*>(base + layout.sizes_of(plan));
  batch.sequences = arrays;
  batch.positions = arrays + layout.rows;
  batch.cells = arrays + 2 * layout.rows;
  batch.first_cells = arrays + 3 * layout.rows;
  batch.visible = arrays + 4 * layout.rows;
  batch.added_offsets = arrays + 5 * layout.rows;
  batch.added_positions = reinterpret_cast<const int32_t*>(base + layout.added);
  batch.tree_mask = reinterpret_cast<const uint64_t*>(base + layout.masks);
  batch.pages = reinterpret_cast<std::byte* const*>(base + layout.pages);
  batch.skipped = reinterpret_cast<const int32_t*>(base + layout.skipped);
  batch.angles = reinterpret_cast<const float*>(base + layout.angles);
  batch.units = reinterpret_cast<const RowUnit*>(base + layout.units_of(plan));
  batch.runs = reinterpret_cast<const RowRun*>(base + layout.runs);
  batch.states = reinterpret_cast<const int32_t*>(base + layout.states_of(plan));
  batch.chosen_states = reinterpret_cast<const int32_t*>(base + layout.chosen_states);
  return batch;
}

std::byte* RoundBlock::input(const RoundLayout& layout, int value) const {
  const int64_t offset = layout.inputs[static_cast<size_t>(value)];
  return offset < 0 ? nullptr : device_.data() + offset;
}

RowPlanSizes RoundBlock::fill(const Program& program, const RoundLayout& layout, const VivaceDeviceRun& run,
                              const std::vector<Pattern>& patterns, const PolicyRows& policy, int64_t state_floats) {
  filling_ = 1 - filling_;
  std::byte* base = hosts_[filling_].data();
  // Everything up to the masks is small; padding is zeros.
  std::memset(base, 0, static_cast<size_t>(layout.masks));
  BatchSizes sizes = {static_cast<int32_t>(run.rows), static_cast<int32_t>(run.outputs), 0, 0, 0, 0, 0, {}};
  for (int32_t i = 0; i < run.binding_count; ++i) {
    const VivaceDeviceBinding& binding = run.bindings[i];
    const ValueInfo& value = program.values[static_cast<size_t>(binding.value)];
    if (value.kind != ValueKind::input) continue;
    const int64_t bytes = actual_rows(value, run.rows, run.outputs) * row_bytes(value.dtype, value.columns);
    std::memcpy(base + layout.inputs[static_cast<size_t>(binding.value)], binding.data, static_cast<size_t>(bytes));
  }
  auto* arrays = reinterpret_cast<int32_t*>(base + layout.arrays);
  std::fill(arrays + 2 * layout.rows, arrays + 3 * layout.rows, -1);  // cells of padding
  for (size_t plan = 0; plan < patterns.size(); ++plan) {
    auto* states = reinterpret_cast<int32_t*>(base + layout.states_of(plan));
    std::fill(states, states + layout.rows, one_chunk);
  }
  RowPlanSizes planned;
  int64_t tables_bytes = 0;  // of page tables
  filled_ = layout.masks;
  filled_end_ = layout.angles;
  if (run.batch != nullptr) {
    const VivaceDeviceBatch& batch = *run.batch;
    if (batch.added > std::max(layout.rows, most_added) || batch.tree_words > layout.mask_words)
      throw Error("INTERNAL", "device: a batch does not fit its bucket");
    const int32_t* const from[array_count] = {batch.sequences,   batch.positions, batch.cells,
                                              batch.first_cells, batch.visible,   batch.added_offsets};
    for (int i = 0; i < array_count; ++i)
      std::memcpy(arrays + i * layout.rows, from[i], static_cast<size_t>(run.rows) * 4);
    sizes.tree_words = batch.tree_mask != nullptr ? batch.tree_words : 0;
    sizes.page_stride = batch.page_stride;
    if (sizes.tree_words > 0) {
      const int64_t given = run.rows * sizes.tree_words * 8;
      std::memcpy(base + layout.masks, batch.tree_mask, static_cast<size_t>(given));
      std::memset(base + layout.masks + given, 0, static_cast<size_t>(layout.added - layout.masks - given));
      std::memcpy(base + layout.added, batch.added_positions, static_cast<size_t>(batch.added) * 4);
      filled_ = layout.added + batch.added * 4;
    }
    const int64_t tables = int64_t{batch.sequence_count} * batch.cache->groups, pages = tables * batch.page_stride * 8;
    std::memcpy(base + layout.pages, batch.pages, static_cast<size_t>(pages));
    if (batch.skipped != nullptr) std::memcpy(base + layout.skipped, batch.skipped, static_cast<size_t>(tables) * 4);
    if (batch.angles != nullptr)
      std::memcpy(base + layout.angles, batch.angles, static_cast<size_t>(run.rows * batch.cache->angles) * 4);
    filled_end_ = layout.pages + pages;
    const std::vector<std::byte>& bytes = policy.bytes();
    if (!bytes.empty()) std::memcpy(base + filled_end_, bytes.data(), bytes.size());
    filled_end_ += static_cast<int64_t>(bytes.size());
    tables_bytes = pages;
  }
  plans_.resize(std::max(plans_.size(), patterns.size()));
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (run.batch != nullptr) {
      const RowPlan plan = {reinterpret_cast<RowUnit*>(base + layout.units_of(i)),
                            reinterpret_cast<RowRun*>(base + layout.runs),
                            reinterpret_cast<int32_t*>(base + layout.states_of(i))};
      const RowPlanSizes own = plans_[i].plan(*run.batch, run.rows, patterns[i], plan);
      sizes.units = own.units;
      sizes.items = own.items;
      sizes.runs = planned.runs = own.runs;
      planned.states = std::max(planned.states, own.states);
      planned.several = planned.several || own.several;
    }
    std::memcpy(base + layout.sizes_of(i), &sizes, sizeof(sizes));
  }
  if (run.batch == nullptr || policy.bytes().empty()) return planned;
  // Whatever the plan, states of rows that choose come behind those of all.
  const PolicySizes placed = policy.placed(tables_bytes, (planned.states + policy.states()) * state_floats,
                                           planned.states, reinterpret_cast<int32_t*>(base + layout.chosen_states));
  for (size_t i = 0; i < patterns.size(); ++i)
    std::memcpy(base + layout.sizes_of(i) + offsetof(BatchSizes, policy), &placed, sizeof(placed));
  planned.states += policy.states();
  return planned;
}

void RoundBlock::send(const RoundLayout& layout, Stream& stream) {
  const std::byte* host = hosts_[filling_].data();
  stream.copy_to_device(device_.data(), host, filled_);
  const int64_t more = filled_end_ - layout.angles;
  if (more > 0) stream.copy_to_device(device_.data() + layout.angles, host + layout.angles, more);
}

}  // namespace vivace::cuda
