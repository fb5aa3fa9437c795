// Experts that lie in a file and come into memory when somebody needs them, or before: a fixed number of slots, threads
// that read past the system's cache, and a cache per layer. One run at a time uses it; a run's layers come in order.
//
// An expert is copied as one, in chunks: a copy that somebody waits for overtakes others between two of them. A slot is
// given to another expert only when no kernel reads it any more and its cache has let it go.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/memory/direct_file.h"
#include "core/memory/mapping.h"
#include "experts/activation_paths.h"
#include "experts/expert_cache.h"
#include "experts/store_statistics.h"
#include "ops/experts/expert_places.h"

namespace vivace {

// Who says what the next layer needs: nobody, its own router reading this layer's input, earlier texts like this one,
// or a script (tests: predictions that are always right, or never).
enum class ExpertPredictor { none, router, paths, script };

struct StoredMatrix {
  int file = 0;
  int64_t offset = 0;
};

struct StoredLayer {
  int64_t bytes[3] = {};               // of an expert's gate, up and down
  std::vector<StoredMatrix> matrices;  // [experts · 3]
  int capacity = 0;                    // experts that may stay
};

struct ExpertStoreOptions {
  std::vector<std::string> files;
  std::vector<StoredLayer> layers;
  int experts = 0;
  int slots = 0;           // more than all capacities together: the rest is for experts on their way
  int predicted_most = 0;  // of a row's layer that paths predict
  Replacement replacement = Replacement::arc;
  ExpertPredictor predictor = ExpertPredictor::router;
  bool pipelined = true;  // experts are computed as they arrive, not when all of them are there
  int readers = 2;
  int64_t chunk_bytes = int64_t{2} << 20;
  double bytes_per_second = 0;  // of all readers; 0: as fast as they are
  // Tests: every copy takes up to so many microseconds more, at random.
  int64_t delay_us = 0;
  // [runs, layers, script_most]: experts that the script predicts, the likeliest first; −1: none.
  std::vector<int32_t> script;
  int script_most = 0;
  uint64_t seed = 0;
};

// Bytes of a slot for experts whose matrices have so many, as they lie anywhere in a file.
int64_t slot_bytes(const int64_t (&bytes)[3]);

class ExpertStore {
 public:
  explicit ExpertStore(ExpertStoreOptions options);
  ~ExpertStore();
  ExpertStore(const ExpertStore&) = delete;
  ExpertStore& operator=(const ExpertStore&) = delete;

  // A run: whatever the one before it left unfinished is dropped.
  void begin(bool begins_text);
  // How often rows chose or will choose each expert of a layer, [experts]. Predictions come after the needs of the
  // layer before. `ranks`: the best place that each has in a row's choice, by which equally popular ones are read.
  void needs(int layer, const std::vector<int32_t>& counts);
  void predicts(int layer, const std::vector<int32_t>& counts, const std::vector<int32_t>& ranks);
  // Waits for experts of the layer that were not computed yet; false when all were, or one cannot be had (`check`).
  // What the wave before had is not read any more.
  bool next_wave(int layer);
  const ExpertPlaces& wave() const { return wave_; }
  // A copy that somebody waited for has failed; `check` throws what it failed with.
  bool failed() const;
  void check();

  StoreStatistics statistics() const;
  ExpertPredictor predictor() const { return options_.predictor; }
  int experts() const { return options_.experts; }
  int layers() const { return static_cast<int>(options_.layers.size()); }
  const StoredLayer& layer(int index) const { return options_.layers[static_cast<size_t>(index)]; }
  // Of all slots.
  int64_t bytes() const { return memory_->size(); }

 private:
  using Clock = std::chrono::steady_clock;
  enum class State : uint8_t { absent, queued, ready };
  struct Expert {
    State state = State::absent;
    int slot = -1;
    int chunks_begun = 0, chunks_done = 0;
    bool urgent = false;  // somebody waits for it, or will before the next layer
    // A reader still writes into its slot; then it leaves. `broken`: a read failed, and what is there is nothing;
    // `again`: somebody wants it all the same.
    bool unwanted = false, broken = false, again = false;
    bool needed = false;  // by the layer in progress
    bool computed = false;
    bool predicted = false;
    uint64_t order = 0;
  };
  struct Chunk {
    int layer, expert, file;
    int64_t offset, bytes, needed;  // needed: bytes that must be there, of those read
    std::byte* to;
  };
  Expert& at(int layer, int expert) {
    return experts_[static_cast<size_t>(layer) * static_cast<size_t>(options_.experts) + static_cast<size_t>(expert)];
  }
  int chunks_of(int layer, int expert) const;
  Chunk chunk(int layer, int expert, int index) const;
  std::byte* place(int layer, int expert, int matrix, int slot) const;
  void queue(int layer, int expert, bool urgent);
  void unqueue(int layer, int expert);
  void leave(int layer, int expert);  // frees the slot, or lets its copy end first
  void free_slot(Expert& expert);
  bool next_chunk(Chunk& chunk);
  void read(std::unique_lock<std::mutex>& lock, const Chunk& chunk);
  void work();
  void finish_layer(int layer);
  void prefetch(int layer, const std::vector<int>& experts);  // the likeliest first
  std::vector<int> scripted(int layer) const;
  Clock::time_point begin_of_copy() const;
  std::string name(const Chunk& chunk) const;

  ExpertStoreOptions options_;
  std::vector<std::unique_ptr<DirectFile>> files_;
  std::unique_ptr<Mapping> memory_;
  int64_t slot_bytes_ = 0;
  std::vector<Expert> experts_;
  std::vector<ExpertCache> caches_;
  ActivationPaths paths_;
  std::vector<int> free_;
  std::vector<std::pair<int, int>> queue_;  // layer and expert of copies with chunks to begin
  uint64_t order_ = 0;
  // The link of `bytes_per_second`: when it has moved what it was given, and since when there is more to move.
  Clock::time_point link_free_, work_since_;
  int reading_ = 0;  // readers at work, and since when any is
  Clock::time_point busy_since_;
  // The layer in progress.
  std::vector<int> needed_, computing_;  // by popularity, the most popular first
  size_t left_ = 0;                      // not computed
  bool all_fit_ = false;                 // they stay until the layer ends
  std::vector<const std::byte*> places_[3];
  ExpertPlaces wave_;
  std::exception_ptr error_;
  StoreStatistics statistics_;
  mutable std::mutex mutex_;
  std::condition_variable work_, ready_;
  bool stop_ = false;
  std::vector<std::thread> readers_;
};

}  // namespace vivace
