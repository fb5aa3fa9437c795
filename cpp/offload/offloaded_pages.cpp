// Pages of a KV cache without the keys and values of offloaded layers, which are told of all that happens to pages.
#include <cstring>

#include "caches/paged_kv.h"
#include "core/error.h"
#include "offload/offloaded_layers.h"

namespace vivace {

void PagedKv::set_offload() {
  const LabelOptions& labels = options_.policy.labels;
  int count = 0;
  for (const uint8_t sparse : labels.sparse) count += sparse != 0 ? 1 : 0;
  if (store_->place() != nullptr || labels.channels == 0 || groups_.size() != 1)
    throw Error("UNSUPPORTED_FEATURE", "KV cache: layers can be offloaded on the CPU, where rows choose by labels",
                "Use Double Sparsity on the CPU, or keep all in memory.");
  if (count == 0 || labels.sparse.size() != static_cast<size_t>(options_.layers))
    throw Error("INVALID_ARGUMENT", "KV cache: no layer chooses by labels, so none can be offloaded");
  const OffloadLayout layout = {count, options_.kv_heads, options_.page_size, key_row_bytes_, value_row_bytes_};
  offloaded_ = std::make_unique<OffloadedLayers>(options_.offload, layout, options_.max_pages, options_.poison);
  options_.max_pages = offloaded_->pages();
  offloaded_layers_ = count;
  parts_ = offloaded_->parts();
  // What stays in pages is the other layers, one behind the other.
  PageGroup& group = groups_[0];
  std::vector<PageGroup::Part> stay;
  int64_t before = 0;
  for (const PageGroup::Part& part : group.parts) {
    if (part.head == 0 && labels.sparse[static_cast<size_t>(part.layer)] != 0) before += layer_bytes_;
    if (labels.sparse[static_cast<size_t>(part.layer)] != 0) continue;
    stay.push_back({part.layer, part.head, part.key - before, part.value - before});
  }
  group.parts = stay;
  group.page_bytes = page_bytes_ = layer_bytes_ * (options_.layers - count);
}

void PagedKv::place_offloaded() {
  int number = 0;
  for (int layer = 0; layer < options_.layers; ++layer) {
    if (options_.policy.labels.sparse[static_cast<size_t>(layer)] == 0) continue;
    for (int head = 0; head < options_.kv_heads; ++head)
      places_[static_cast<size_t>(layer * options_.kv_heads + head)] = {
          0, head * key_head_bytes_, value_offset_ + head * value_head_bytes_, number};
    ++number;
  }
}

int64_t PagedKv::used_bytes() const {
  return used_bytes_ + (offloaded_ ? offloaded_->bytes() : 0);
}

int64_t PagedKv::group_bytes(int group) const {
  const int64_t in_file = offloaded_ ? offloaded_->rows_bytes(options_.page_size) : 0;
  return groups_[static_cast<size_t>(group)].page_bytes + in_file;
}

void PagedKv::copy_offloaded(int32_t from, int from_slot, int32_t to, int to_slot, int count) {
  if (!offloaded_ || count == 0) return;
  std::vector<std::byte> rows(static_cast<size_t>(offloaded_->rows_bytes(count)));
  offloaded_->read_cells(from, from_slot, count, rows.data());
  offloaded_->write_cells(to, to_slot, count, rows.data());
}

// Of cells as read_cells has them, the rows of offloaded layers, page by page.
template <class Move>
void PagedKv::for_offloaded_rows(int sequence, int begin, int count, Move&& move) const {
  if (!offloaded_) return;
  const int size = options_.page_size;
  const int64_t row = key_row_bytes_ + value_row_bytes_, cell_row = cell_bytes();
  std::vector<std::byte> rows;
  for (int cell = begin, some; cell < begin + count; cell += some) {
    some = std::min(size - cell % size, begin + count - cell);
    rows.resize(static_cast<size_t>(offloaded_->rows_bytes(some)));
    // Calls body(key, value, row): offsets of each in the caller's cells, and in `rows`.
    const auto each = [&](auto&& body) {
      for (int layer = 0; layer < options_.layers; ++layer) {
        const int number = offloaded_layer(layer);
        for (int head = 0; number >= 0 && head < options_.kv_heads; ++head)
          for (int i = 0; i < some; ++i) {
            const int64_t at = (cell - begin + i) * cell_row + layer * (cell_row / options_.layers);
            body(at + head * key_row_bytes_, at + options_.kv_heads * key_row_bytes_ + head * value_row_bytes_,
                 ((int64_t{number} * options_.kv_heads + head) * some + i) * row);
          }
      }
    };
    move(page_number(sequence, cell / size), cell % size, some, rows.data(), each);
  }
}

void PagedKv::read_offloaded(int sequence, int begin, int count, std::byte* out) const {
  for_offloaded_rows(sequence, begin, count, [&](int32_t page, int slot, int some, std::byte* rows, auto&& each) {
    offloaded_->read_cells(page, slot, some, rows);
    each([&](int64_t key, int64_t value, int64_t row) {
      std::memcpy(out + key, rows + row, static_cast<size_t>(key_row_bytes_));
      std::memcpy(out + value, rows + row + key_row_bytes_, static_cast<size_t>(value_row_bytes_));
    });
  });
}

void PagedKv::write_offloaded(int sequence, int begin, int count, const std::byte* in) {
  for_offloaded_rows(sequence, begin, count, [&](int32_t page, int slot, int some, std::byte* rows, auto&& each) {
    each([&](int64_t key, int64_t value, int64_t row) {
      std::memcpy(rows + row, in + key, static_cast<size_t>(key_row_bytes_));
      std::memcpy(rows + row + key_row_bytes_, in + value, static_cast<size_t>(value_row_bytes_));
    });
    offloaded_->write_cells(page, slot, some, rows);
  });
}

// Where the file cannot take what published pages have in memory only, these are published no more.
void PagedKv::rest_offloaded() {
  if (!offloaded_ || used_ > 0) return;
  try {
    offloaded_->rest();
  } catch (const Error&) {
    drop_idle();
    offloaded_->rest();
  }
}

}  // namespace vivace
