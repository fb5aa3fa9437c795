#include "offload/page_file.h"

#include <algorithm>
#include <cstring>
#include <thread>

namespace vivace {
namespace {

// Calls body(key, value, row) with the offsets of each: in a part, and in [heads][count] rows.
template <class Body>
void for_rows(const OffloadLayout& layout, int slot, int count, Body&& body) {
  for (int head = 0; head < layout.heads; ++head)
    for (int i = 0; i < count; ++i) {
      const int64_t at = int64_t{head} * layout.page_size + slot + i;
      body(at * layout.key_bytes, layout.values_at() + at * layout.value_bytes,
           (int64_t{head} * count + i) * layout.row_bytes());
    }
}

}  // namespace

void pack_rows(const OffloadLayout& layout, const std::byte* part, int slot, int count, std::byte* rows) {
  for_rows(layout, slot, count, [&](int64_t key, int64_t value, int64_t row) {
    std::memcpy(rows + row, part + key, static_cast<size_t>(layout.key_bytes));
    std::memcpy(rows + row + layout.key_bytes, part + value, static_cast<size_t>(layout.value_bytes));
  });
}

void unpack_rows(const OffloadLayout& layout, const std::byte* rows, int slot, int count, std::byte* part) {
  for_rows(layout, slot, count, [&](int64_t key, int64_t value, int64_t row) {
    std::memcpy(part + key, rows + row, static_cast<size_t>(layout.key_bytes));
    std::memcpy(part + value, rows + row + layout.key_bytes, static_cast<size_t>(layout.value_bytes));
  });
}

PageFile::PageFile(const OffloadOptions& options, const OffloadLayout& layout)
    : options_(options), layout_(layout), file_(options.folder) {}

// A link that was idle for a moment owes nothing but what a sleep is late by.
void PageFile::pass(int64_t bytes) {
  read_ += bytes;
  if (options_.bytes_per_second <= 0 && options_.delay_us <= 0) return;
  constexpr auto late = std::chrono::microseconds(200);
  Clock::time_point over = Clock::now();
  {
    std::lock_guard lock(mutex_);
    if (options_.bytes_per_second > 0) {
      const std::chrono::duration<double> taken(static_cast<double>(bytes) / options_.bytes_per_second);
      free_ = std::max(free_, over - late) + std::chrono::duration_cast<Clock::duration>(taken);
      over = free_;
    }
    if (options_.delay_us > 0) {
      // splitmix64
      uint64_t bits = options_.seed += 0x9e3779b97f4a7c15;
      bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
      bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
      over += std::chrono::microseconds((bits ^ bits >> 31) % static_cast<uint64_t>(options_.delay_us));
    }
  }
  std::this_thread::sleep_until(over);
}

void PageFile::read_part(int32_t page, int layer, std::byte* part) {
  std::vector<std::byte> rows(static_cast<size_t>(layout_.part_bytes()));
  read_rows(page, layer, 0, layout_.page_size, rows.data());
  unpack_rows(layout_, rows.data(), 0, layout_.page_size, part);
}

void PageFile::write_part(int32_t page, int layer, const std::byte* part) {
  std::vector<std::byte> rows(static_cast<size_t>(layout_.part_bytes()));
  pack_rows(layout_, part, 0, layout_.page_size, rows.data());
  write_rows(page, layer, 0, layout_.page_size, rows.data());
}

void PageFile::read_rows(int32_t page, int layer, int slot, int count, std::byte* rows) {
  const int64_t row = layout_.row_bytes(), at = layout_.part_at(page, layer);
  pass(layout_.heads * count * row);
  if (count == layout_.page_size) {
    const TemporaryFile::Part all = {rows, layout_.part_bytes()};
    return file_.read(at, &all, 1);
  }
  for (int head = 0; head < layout_.heads; ++head, rows += count * row) {
    const TemporaryFile::Part some = {rows, count * row};
    file_.read(at + layout_.row_at(head, slot), &some, 1);
  }
}

void PageFile::write_rows(int32_t page, int layer, int slot, int count, const std::byte* rows) {
  const int64_t row = layout_.row_bytes(), at = layout_.part_at(page, layer);
  const int64_t end = (int64_t{page} + 1) * layout_.page_bytes();
  {
    std::lock_guard lock(mutex_);
    // Asked every time: what somebody has cut off would be zeros behind what is written now.
    const int64_t longer = std::max(end_, end);
    file_.resize(end_, longer);
    end_ = longer;
  }
  written_ += layout_.heads * count * row;
  if (count == layout_.page_size) return file_.write(at, layout_.part_bytes(), rows);
  for (int head = 0; head < layout_.heads; ++head, rows += count * row)
    file_.write(at + layout_.row_at(head, slot), count * row, rows);
}

void PageFile::clear() {
  std::lock_guard lock(mutex_);
  file_.resize(end_, 0);
  end_ = 0;
}

void PageFile::read_head_rows(int32_t page, int layer, int head, int slot, const TemporaryFile::Part* rows, int count) {
  pass(count * layout_.row_bytes());
  file_.read(layout_.part_at(page, layer) + layout_.row_at(head, slot), rows, count);
}

}  // namespace vivace
