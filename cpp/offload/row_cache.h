// Rows of offloaded layers that are in memory: those that somebody attends to, those that are fetched for the next
// layer, and as many of those before as there is room for. Threads of its own read, and who waits; what somebody waits
// for comes first. A row that is there stays until its memory is wanted for another one.
//
// Whose memory goes: a row that nobody used in this run or the last one, looked for at a few places drawn at random, or
// else any that nobody waits for. What the layers want one after the other may be more than there is room for; of the
// rows used longest ago none would stay until its turn comes again.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/memory/arena.h"
#include "offload/offload_statistics.h"
#include "offload/page_file.h"
#include "offload/row_places.h"

namespace vivace {

class RowCache {
 public:
  // Starts its readers.
  RowCache(const OffloadOptions& options, PageFile& file, int64_t rows, bool poison);
  ~RowCache();
  RowCache(const RowCache&) = delete;
  RowCache& operator=(const RowCache&) = delete;

  static int64_t slot_bytes(const OffloadLayout& layout) { return (layout.row_bytes() + 63) / 64 * 64; }
  int64_t rows() const { return static_cast<int64_t>(slots_.size()); }

  void reserve();  // its memory. Throws OUT_OF_MEMORY
  void begin_run();
  // The layer whose rows are held from now on: guesses for it and for those before it protect nothing any more.
  void begin_layer(int layer);
  // As hold_rows and so on, for rows that are nowhere else in memory: `held` is -1 for those that are.
  bool hold(int layer, int head, const RowPlace* places, int count, const std::byte** rows, int32_t* held);
  void let_go(const int32_t* held, int count);
  void fetch_ahead(int layer, int head, const RowPlace* places, int count, const bool* elsewhere);

  // The file's rows of a page are others now.
  void drop(int32_t page, int layer);
  void drop(int32_t page);
  // Gives its memory back, when nobody holds a row. Waits for reads in flight.
  void rest();

  int64_t bytes() const;
  OffloadStatistics statistics() const;
  // What the first read failed with that somebody waited for, in this run.
  std::exception_ptr error() const;

 private:
  enum class State : uint8_t { free, queued, reading, ready, broken };
  struct Slot {
    int32_t page = -1, row = 0;      // row: [layers][heads][page_size]
    uint32_t used = 0, guessed = 0;  // the runs of the last use, and guess
    int16_t pins = 0, layer = 0;
    State state = State::free;
    bool unused = false;  // fetched ahead, and not held yet
    bool lost = false;    // being read for nobody
  };
  // Rows of a reader's turn: others come between.
  struct Job {
    static constexpr int most = 64;
    int32_t slots[most];
    int count = 0;
  };
  std::byte* at(int32_t slot) const { return memory_.data() + slot * slot_bytes_; }
  int32_t& index(int32_t page, int32_t row);
  int32_t take(bool ahead);
  bool gives(const Slot& slot, bool gently) const;
  void free_slot(int32_t slot);
  bool next_job(std::deque<int32_t>& queue, Job& job);
  void work();
  void read(std::unique_lock<std::mutex>& lock, const Job& job);

  PageFile& file_;
  const OffloadLayout& layout_;
  int64_t slot_bytes_;
  bool poison_;
  Arena memory_;
  std::vector<Slot> slots_;
  std::vector<int32_t> free_;
  std::vector<std::unique_ptr<int32_t[]>> pages_;  // slots of a page's rows, or -1
  std::deque<int32_t> urgent_, ahead_;
  uint32_t run_ = 1;
  uint64_t draws_ = 0;
  int layer_ = 0, ahead_layer_ = -1;
  std::vector<uint32_t> guesses_;  // the last run in which there was one for the layer
  int64_t ahead_rows_ = 0;         // fetched ahead for this layer
  int reading_ = 0;
  OffloadStatistics statistics_;
  std::exception_ptr error_;
  mutable std::mutex mutex_;
  std::condition_variable work_, ready_;
  bool stop_ = false;
  std::vector<std::thread> readers_;
};

}  // namespace vivace
