// Where pages of offloaded layers lie in their file, and how fast it may be read.
#pragma once
#include <atomic>
#include <chrono>
#include <mutex>
#include <vector>

#include "core/memory/temporary_file.h"
#include "offload/offload_options.h"

namespace vivace {

class PageFile {
 public:
  // Throws FILE_NOT_FOUND or FILE_UNREADABLE.
  PageFile(const OffloadOptions& options, const OffloadLayout& layout);

  const OffloadLayout& layout() const { return layout_; }
  // A page of a layer; `part` as it lies in memory.
  void read_part(int32_t page, int layer, std::byte* part);
  void write_part(int32_t page, int layer, const std::byte* part);
  // Some rows of all heads, `rows`: [heads][count].
  void read_rows(int32_t page, int layer, int slot, int count, std::byte* rows);
  void write_rows(int32_t page, int layer, int slot, int count, const std::byte* rows);
  // Neighbouring rows of a head.
  void read_head_rows(int32_t page, int layer, int head, int slot, const TemporaryFile::Part* rows, int count);

  // Nothing of it is wanted any more: gives the disk's room back.
  void clear();

  int64_t bytes_read() const { return read_; }
  int64_t bytes_written() const { return written_; }

 private:
  using Clock = std::chrono::steady_clock;
  void pass(int64_t bytes);

  OffloadOptions options_;
  OffloadLayout layout_;
  TemporaryFile file_;
  int64_t end_ = 0;
  std::atomic<int64_t> read_{0}, written_{0};
  std::mutex mutex_;
  Clock::time_point free_;  // when the link has passed all that was asked for
};

// Rows between a part in memory and [heads][count] rows.
void pack_rows(const OffloadLayout& layout, const std::byte* part, int slot, int count, std::byte* rows);
void unpack_rows(const OffloadLayout& layout, const std::byte* rows, int slot, int count, std::byte* part);

}  // namespace vivace
