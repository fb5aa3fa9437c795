#include "device/device_rows.h"

#include <algorithm>

namespace vivace {

void DeviceRows::describe_cache(const PagedKv& kv) {
  const PagedKvOptions& options = kv.options();
  cache_ = {options.layers,
            options.kv_heads,
            options.key_dim,
            options.value_dim,
            options.page_size,
            static_cast<int32_t>(options.key_dtype),
            static_cast<int32_t>(options.value_dtype),
            kv.key_row_bytes(),
            kv.value_row_bytes(),
            kv.value_offset(),
            kv.layer_bytes(),
            static_cast<int32_t>(kv.groups().size()),
            nullptr,
            nullptr,
            nullptr,
            0,
            0,
            {}};
  const CachePolicy& policy = options.policy;
  if (policy.layers.empty()) return;
  places_.clear();
  patterns_.clear();
  for (int layer = 0; layer < options.layers; ++layer) {
    for (int head = 0; head < options.kv_heads; ++head) {
      const int group = kv.group_of(layer, head);
      const PageGroup& kind = kv.groups()[static_cast<size_t>(group)];
      const int64_t first = kind.bounded() ? kind.sink_pages() : 0;
      places_.push_back({kv.keys_at(layer, head), kv.values_at(layer, head), group, static_cast<int32_t>(first)});
    }
    const LayerPattern& seen = policy.layers[static_cast<size_t>(layer)];
    const SinkRotation& rotation = policy.rotation;
    const int table = rotation.tables.empty() ? -1 : rotation.layers[static_cast<size_t>(layer)];
    patterns_.push_back({seen.sinks, seen.window, seen.block, seen.local, seen.stride, seen.head_step, seen.head_offset,
                         seen.dense_heads, seen.always_first ? 1 : 0,
                         table < 0 ? 0 : static_cast<int32_t>(kv.sink_angles().offset(table)),
                         table < 0 ? 0 : static_cast<int32_t>(rotation.tables[static_cast<size_t>(table)].size())});
    cache_.sinks = std::max(cache_.sinks, seen.sinks);
  }
  cache_.places = places_.data();
  cache_.patterns = patterns_.data();
  cache_.angles = static_cast<int32_t>(kv.sink_angles().width());
  cache_.sink_angles = kv.sink_angles().sinks();
}

void DeviceRows::number_sequences(const Batch& batch) {
  ids_.clear();
  last_cells_.clear();
  sequences_.resize(static_cast<size_t>(batch.rows));
  for (int64_t row = 0; row < batch.rows; ++row) {
    size_t at = ids_.size();
    if (row > 0 && batch.sequences[row] == batch.sequences[row - 1])
      at = static_cast<size_t>(sequences_[static_cast<size_t>(row - 1)]);
    else
      for (size_t i = 0; i < ids_.size() && at == ids_.size(); ++i)
        if (ids_[i] == batch.sequences[row]) at = i;
    if (at == ids_.size()) {
      ids_.push_back(batch.sequences[row]);
      last_cells_.push_back(0);
    }
    sequences_[static_cast<size_t>(row)] = static_cast<int32_t>(at);
    last_cells_[at] = std::max(last_cells_[at], batch.cells[row]);
  }
}

// A table has what is there of a text's beginning, then what follows what is gone: as long as what is kept, not as the
// text, unless blocks are kept all over it.
void DeviceRows::list_pages(const PagedKv& kv) {
  const std::vector<PageGroup>& groups = kv.groups();
  const int page_size = kv.options().page_size;
  skipped_.clear();
  int64_t stride = 1;
  for (size_t i = 0; i < ids_.size(); ++i)
    for (size_t group = 0; group < groups.size(); ++group) {
      const int64_t gone = kv.pages_gone(ids_[i], static_cast<int>(group));
      skipped_.push_back(static_cast<int32_t>(gone));
      stride = std::max(stride, last_cells_[i] / page_size + 1 - gone);
    }
  pages_.assign(skipped_.size() * static_cast<size_t>(stride), nullptr);
  for (size_t i = 0; i < ids_.size(); ++i)
    for (size_t group = 0; group < groups.size(); ++group) {
      const size_t table = i * groups.size() + group;
      const int64_t gone = skipped_[table], first = groups[group].sink_pages();
      void** at = pages_.data() + table * static_cast<size_t>(stride);
      for (int64_t page = 0; page <= last_cells_[i] / page_size; ++page) {
        if (gone > 0 && page == first) page += gone;
        *at++ = kv.page_or_null(ids_[i], static_cast<int>(page), static_cast<int>(group));
      }
    }
  batch_.pages = pages_.data();
  batch_.skipped = cache_.places != nullptr ? skipped_.data() : nullptr;
  batch_.sequence_count = static_cast<int32_t>(ids_.size());
  batch_.page_stride = static_cast<int32_t>(stride);
}

void DeviceRows::describe_labels(const PagedKv& kv) {
  const LabelOptions& labels = kv.options().policy.labels;
  if (labels.channels == 0) return;
  VivaceDeviceLabels& given = cache_.labels;
  given.channels = labels.channels;
  given.bits = labels.bits;
  given.sets = labels.sets;
  given.tokens = labels.tokens;
  given.share = labels.share;
  given.threshold = labels.threshold;
  given.recent = labels.recent;
  given.sinks = labels.sinks;
  given.grouped = labels.grouped ? 1 : 0;
  given.bytes = kv.label_bytes();
  given.offsets = kv.label_offsets().data();
  given.table = labels.table.data();
}

void DeviceRows::list_prompts(const Batch& batch, const PagedKv& kv) {
  const SnapOptions& snap = kv.options().policy.snap;
  prompts_.clear();
  prompt_pages_.clear();
  for (int64_t i = 0; i < batch.compressed; ++i) {
    const int32_t sequence = batch.compressed_sequences[i];
    const Compaction& own = *kv.compaction(sequence);
    std::vector<void*>& pages = prompt_pages_.emplace_back();
    for (const int32_t page : own.page_list) pages.push_back(kv.base_of(page));
    VivaceDevicePrompt prompt{};
    prompt.sequence = static_cast<int32_t>(std::find(ids_.begin(), ids_.end(), sequence) - ids_.begin());
    prompt.cells = own.cells;
    prompt.kept = own.kept;
    prompt.prefix = own.prefix;
    prompt.voters = own.voters;
    prompt.spans = own.spans;
    prompt.group = snap.group;
    prompt.kernel = snap.kernel;
    prompt.pooling = static_cast<int32_t>(snap.pooling);
    prompt.aggregation = static_cast<int32_t>(snap.aggregation);
    prompt.keep_first = snap.keep_first;
    prompt.rows = own.rows;
    prompt.pages = pages.data();
    prompts_.push_back(prompt);
  }
  batch_.prompts = prompts_.data();
  batch_.prompt_count = static_cast<int32_t>(prompts_.size());
}

const VivaceDeviceBatch& DeviceRows::describe(const Batch& batch, const PagedKv& kv, const uint8_t* drafted) {
  describe_cache(kv);
  number_sequences(batch);
  batch_ = {};
  batch_.cache = &cache_;
  batch_.sequences = sequences_.data();
  batch_.positions = batch.positions;
  batch_.cells = batch.cells;
  batch_.first_cells = batch.first_cells;
  batch_.visible = batch.visible;
  batch_.added_offsets = batch.added_offsets;
  batch_.added_positions = batch.added_positions;
  batch_.tree_mask = batch.tree_mask;
  batch_.drafted = drafted;
  batch_.angles = batch.sink_angles;
  batch_.tree_words = batch.tree_mask != nullptr ? static_cast<int32_t>(batch.tree_words) : 0;
  batch_.added = batch.added_positions != nullptr ? static_cast<int32_t>(batch.added) : 0;
  batch_.output_rows = batch.output_rows;
  batch_.output_count = static_cast<int32_t>(batch.outputs);
  list_pages(kv);
  describe_labels(kv);
  list_prompts(batch, kv);
  return batch_;
}

}  // namespace vivace
