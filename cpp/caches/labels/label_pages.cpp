// Labels in the pages of a KV cache: behind all layers, for those that have them, [sets][LabelLayout] each.
#include <algorithm>

#include "caches/paged_kv.h"
#include "core/error.h"

namespace vivace {

void PagedKv::set_labels() {
  const LabelOptions& labels = options_.policy.labels;
  const auto size = static_cast<size_t>(int64_t{options_.layers} * labels.sets * labels.channels);
  const bool bits = labels.bits == 2 || labels.bits == 4 || labels.bits == 8 || labels.bits == 16;
  if (!options_.policy.layers.empty() || !bits || labels.sets < 1 || labels.sets % options_.kv_heads != 0 ||
      labels.channels % 8 != 0 || labels.channels > 256 || labels.table.size() != size ||
      labels.sparse.size() != static_cast<size_t>(options_.layers))
    throw Error("INVALID_ARGUMENT", "KV cache: labels do not fit the layers and heads");
  for (const int32_t channel : labels.table)
    if (channel < 0 || channel >= options_.key_dim)
      throw Error("INVALID_ARGUMENT", "KV cache: labels are of channels that keys do not have");
  label_layout_ = {labels.channels, labels.bits, options_.page_size};
  label_bytes_ = label_layout_.bytes();
  int64_t& page_bytes = groups_[0].page_bytes;  // that of all layers
  page_bytes = (page_bytes + 63) / 64 * 64;
  for (const uint8_t sparse : labels.sparse) {
    label_offsets_.push_back(sparse != 0 ? page_bytes : -1);
    if (sparse != 0) page_bytes += label_bytes_ * labels.sets;
  }
  page_bytes_ = page_bytes;
}

void PagedKv::reserve_scratch(int64_t bytes) {
  constexpr int64_t unit = int64_t{1} << 20;
  scratch_.reserve((bytes + unit - 1) / unit * unit);
}

void PagedKv::label(int sequence, int cell, int layer, int head) const {
  const LabelOptions& labels = options_.policy.labels;
  if (labels.channels == 0 || label_offsets_[static_cast<size_t>(layer)] < 0) return;
  const int page = cell / options_.page_size, slot = cell % options_.page_size, own = labels.sets / options_.kv_heads;
  const std::byte* key = keys(sequence, page, layer, head) + slot * key_row_bytes_;
  for (int set = head * own; set < (head + 1) * own; ++set)
    write_label(label_layout_, this->labels(sequence, page, layer, set), slot,
                labels.table.data() + (int64_t{layer} * labels.sets + set) * labels.channels, options_.key_dtype, key);
}

void PagedKv::add_label_strips(std::vector<PageStrip>& strips, const std::byte* source, int from, std::byte* target,
                               int to, int cells) const {
  for (const int64_t offset : label_offsets_)
    for (int set = 0; offset >= 0 && set < options_.policy.labels.sets; ++set)
      for_label_parts(label_layout_, [&](int64_t part, int64_t bytes) {
        const int64_t at = offset + set * label_bytes_ + part;
        strips.push_back({target + at + to * bytes, source + at + from * bytes, cells * bytes});
      });
}

void PagedKv::restore_labels(int sequence, int begin, int count, const std::byte* rows) {
  const LabelOptions& labels = options_.policy.labels;
  if (labels.channels == 0) return;
  const int size = options_.page_size, own = labels.sets / options_.kv_heads;
  const int64_t row = cell_bytes(), layer_row = row / options_.layers;
  // Of a page, its layers without keys and values.
  std::vector<std::byte> made(static_cast<size_t>(label_bytes_) * static_cast<size_t>(labels.sets) *
                              static_cast<size_t>(options_.layers));
  std::vector<PageStrip> strips;
  for (int cell = begin, some; cell < begin + count; cell += some, rows += some * row) {
    const int page = cell / size, slot = cell % size;
    some = std::min(size - slot, begin + count - cell);
    strips.clear();
    for (int layer = 0; layer < options_.layers; ++layer)
      for (int set = 0; label_offsets_[static_cast<size_t>(layer)] >= 0 && set < labels.sets; ++set) {
        const int64_t index = int64_t{layer} * labels.sets + set;
        std::byte* const out = made.data() + index * label_bytes_;
        for (int i = 0; i < some; ++i)
          write_label(label_layout_, out, slot + i, labels.table.data() + index * labels.channels, options_.key_dtype,
                      rows + i * row + layer * layer_row + set / own * key_row_bytes_);
        std::byte* const in_page = this->labels(sequence, page, layer, set);
        for_label_parts(label_layout_, [&](int64_t part, int64_t bytes) {
          strips.push_back({in_page + part + slot * bytes, out + part + slot * bytes, some * bytes});
        });
      }
    store_->write(strips);
  }
}

}  // namespace vivace
