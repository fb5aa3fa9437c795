// Keys and values of some layers that lie in a file, as numbers: what memory they may take, and how they lie.
#pragma once
#include <cstdint>
#include <string>

namespace vivace {

struct OffloadOptions {
  int64_t memory = 0;           // bytes, never more; 0: all is in memory
  std::string folder;           // of the file
  bool ahead = true;            // rows of the next layer are fetched for a guessed query
  int readers = 2;              // threads
  int threads = 1;              // that attend at most
  double bytes_per_second = 0;  // of all reads; 0: as fast as they are
  // Tests: every read takes up to so many microseconds more, at random.
  int64_t delay_us = 0;
  uint64_t seed = 0;

  bool operator==(const OffloadOptions&) const = default;
};

// One row of a head: a key and its value. A page of a layer is, in memory, keys [heads][page_size] and behind them
// values; in the file [heads][page_size] rows, so that one read brings both.
struct OffloadLayout {
  int layers = 0;  // that lie in the file
  int heads = 0, page_size = 0;
  int64_t key_bytes = 0, value_bytes = 0;

  int64_t row_bytes() const { return key_bytes + value_bytes; }
  int64_t part_bytes() const { return heads * page_size * row_bytes(); }  // of a page in one layer
  int64_t page_bytes() const { return layers * part_bytes(); }
  int64_t values_at() const { return heads * page_size * key_bytes; }
  int64_t part_at(int32_t page, int layer) const { return (int64_t{page} * layers + layer) * part_bytes(); }
  int64_t row_at(int head, int slot) const { return (int64_t{head} * page_size + slot) * row_bytes(); }
};

}  // namespace vivace
