#include "offload/offloaded_layers.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

#include "core/error.h"

namespace vivace {
namespace {

constexpr int least_rows_held = 64;

int64_t frame_bytes(const OffloadLayout& layout) {
  return (layout.part_bytes() + 63) / 64 * 64;
}

int64_t frames_of(const OffloadOptions& options, const OffloadLayout& layout, int64_t max_pages) {
  const int64_t frames = options.memory / 2 / frame_bytes(layout);
  const int64_t rows = 4 * least_rows_held * std::max(1, options.threads);
  const int64_t least = 2 * std::max(16 * frame_bytes(layout), rows * RowCache::slot_bytes(layout));
  if (options.memory < least)
    throw Error("INVALID_ARGUMENT",
                "KV cache: offloaded layers need at least " + std::to_string(least) + " bytes of memory, not " +
                    std::to_string(options.memory),
                "Give them more memory, or use smaller pages.");
  return std::min(frames, max_pages);
}

}  // namespace

OffloadedLayers::OffloadedLayers(const OffloadOptions& options, const OffloadLayout& layout, int64_t max_pages,
                                 bool poison)
    : options_(options),
      file_(options, layout),
      frame_bytes_(frame_bytes(layout)),
      pages_(frames_of(options, layout, max_pages)),
      poison_(poison),
      rows_(options, file_, (options.memory - pages_ * frame_bytes_) / RowCache::slot_bytes(layout), poison),
      states_(static_cast<size_t>(pages_ * layout.layers)),
      places_(states_.size()) {}

void OffloadedLayers::begin_run() {
  {
    std::lock_guard lock(mutex_);
    error_ = nullptr;
  }
  rows_.begin_run();
}

// With the lock held, as all that moves parts.
void OffloadedLayers::save(int32_t part) {
  Part& one = states_[static_cast<size_t>(part)];
  if (!one.changed) return;
  rows_.drop(page_of(part), layer_of(part));
  file_.write_part(page_of(part), layer_of(part), places_[static_cast<size_t>(part)]);
  one.in_file = true;
  one.changed = false;
  ++parts_written_;
}

void OffloadedLayers::give_frame(int32_t part) {
  Part& one = states_[static_cast<size_t>(part)];
  if (one.frame < 0) return;
  if (poison_) std::memset(places_[static_cast<size_t>(part)], 0xff, static_cast<size_t>(frame_bytes_));
  ages_.erase(one.age);
  free_.push_back(one.frame);
  one.frame = -1;
  one.changed = false;
  places_[static_cast<size_t>(part)] = nullptr;
}

void OffloadedLayers::wake() {
  std::lock_guard lock(mutex_);
  if (frames_.size() > 0) return;
  rows_.reserve();
  frames_.reserve(pages_ * frame_bytes_);
  if (poison_) std::memset(frames_.data(), 0xff, static_cast<size_t>(pages_ * frame_bytes_));
  free_.resize(static_cast<size_t>(pages_));
  for (size_t i = 0; i < free_.size(); ++i) free_[i] = static_cast<int32_t>(free_.size() - 1 - i);
}

void OffloadedLayers::take_frame(int32_t part) {
  if (free_.empty()) {
    const int32_t oldest = ages_.front();
    if (states_[static_cast<size_t>(oldest)].opened == opened_)
      throw Error("INTERNAL", "offloaded layers: a run reads more pages than there may be");
    save(oldest);
    give_frame(oldest);
  }
  Part& one = states_[static_cast<size_t>(part)];
  one.frame = free_.back();
  free_.pop_back();
  one.age = ages_.insert(ages_.end(), part);
  places_[static_cast<size_t>(part)] = frames_.data() + one.frame * frame_bytes_;
}

void OffloadedLayers::open(int layer, const std::vector<Need>& needs) {
  rows_.begin_layer(layer);
  std::lock_guard lock(mutex_);
  missing_.clear();
  ++opened_;
  try {
    // Those that are there first: nobody takes their memory then.
    for (const Need& need : needs) {
      Part& one = states_[index(need.page, layer)];
      one.opened = opened_;
      if (one.frame >= 0) ages_.splice(ages_.end(), ages_, one.age);
    }
    for (auto next = ages_.begin(); poison_ && next != ages_.end();) {
      const int32_t part = *next++;
      if (states_[static_cast<size_t>(part)].opened == opened_) continue;
      save(part);
      give_frame(part);
    }
    for (const Need& need : needs) {
      const auto part = static_cast<int32_t>(index(need.page, layer));
      Part& one = states_[static_cast<size_t>(part)];
      if (one.frame < 0) {
        take_frame(part);
        if (one.in_file) missing_.push_back(part);
      }
      if (!need.written || one.changed) continue;
      one.changed = true;
      rows_.drop(need.page, layer);
    }
  } catch (...) {
    error_ = std::current_exception();
    // What was not read yet is nothing.
    for (const int32_t part : missing_) give_frame(part);
    missing_.clear();
  }
}

void OffloadedLayers::read_missing(int64_t index) {
  const int32_t part = missing_[static_cast<size_t>(index)];
  const auto from = std::chrono::steady_clock::now();
  std::exception_ptr error;
  try {
    file_.read_part(page_of(part), layer_of(part), places_[static_cast<size_t>(part)]);
  } catch (...) {
    error = std::current_exception();
  }
  std::lock_guard lock(mutex_);
  opening_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
  ++parts_read_;
  if (error == nullptr) return;
  give_frame(part);
  if (error_ == nullptr) error_ = error;
}

bool OffloadedLayers::failed() const {
  {
    std::lock_guard lock(mutex_);
    if (error_ != nullptr) return true;
  }
  return rows_.error() != nullptr;
}

void OffloadedLayers::check() const {
  std::exception_ptr error;
  {
    std::lock_guard lock(mutex_);
    error = error_;
  }
  if (error == nullptr) error = rows_.error();
  if (error != nullptr) std::rethrow_exception(error);
}

void OffloadedLayers::forget(int32_t page) {
  if (page >= pages_) return;
  std::lock_guard lock(mutex_);
  for (int layer = 0; layer < layout().layers; ++layer) {
    const auto part = static_cast<int32_t>(index(page, layer));
    give_frame(part);
    states_[static_cast<size_t>(part)] = {};
  }
  rows_.drop(page);
}

void OffloadedLayers::read_cells(int32_t page, int slot, int count, std::byte* out) {
  std::lock_guard lock(mutex_);
  const int64_t bytes = rows_bytes(count) / layout().layers;
  for (int layer = 0; layer < layout().layers; ++layer, out += bytes) {
    if (const std::byte* const part = places_[index(page, layer)])
      pack_rows(layout(), part, slot, count, out);
    else if (states_[index(page, layer)].in_file)
      file_.read_rows(page, layer, slot, count, out);
    else
      throw Error("INTERNAL", "offloaded layers: the page was never written");
  }
}

void OffloadedLayers::write_cells(int32_t page, int slot, int count, const std::byte* in) {
  std::lock_guard lock(mutex_);
  const int64_t bytes = rows_bytes(count) / layout().layers;
  for (int layer = 0; layer < layout().layers; ++layer, in += bytes) {
    Part& one = states_[index(page, layer)];
    rows_.drop(page, layer);
    if (std::byte* const part = places_[index(page, layer)]) {
      unpack_rows(layout(), in, slot, count, part);
      one.changed = true;
    } else {
      file_.write_rows(page, layer, slot, count, in);
      one.in_file = true;
    }
  }
}

void OffloadedLayers::rest() {
  rows_.rest();
  std::lock_guard lock(mutex_);
  for (const int32_t part : ages_) save(part);
  while (!ages_.empty()) give_frame(ages_.front());
  free_.clear();
  frames_.release();
  if (std::any_of(states_.begin(), states_.end(), [](const Part& one) { return one.in_file; })) return;
  try {
    file_.clear();
  } catch (const Error&) {
    // Then the disk's room comes back with the end of the file.
  }
}

OffloadStatistics OffloadedLayers::statistics() const {
  OffloadStatistics all = rows_.statistics();
  std::lock_guard lock(mutex_);
  all.parts_read = parts_read_;
  all.parts_written = parts_written_;
  all.bytes_read = file_.bytes_read();
  all.bytes_written = file_.bytes_written();
  all.stall_seconds += opening_seconds_;
  return all;
}

int64_t OffloadedLayers::bytes() const {
  std::lock_guard lock(mutex_);
  return frames_.size() + rows_.bytes();
}

int rows_held_at_once(const OffloadedLayers& offloaded, int threads) {
  const int64_t most = offloaded.rows().rows() / (4 * threads);
  return static_cast<int>(
      std::clamp<int64_t>(most / least_rows_held * least_rows_held, least_rows_held, most_rows_held));
}

bool hold_rows(OffloadedLayers& offloaded, int layer, int head, const RowPlace* places, int count,
               const std::byte** rows, int32_t* held) {
  return offloaded.rows().hold(layer, head, places, count, rows, held);
}

void let_rows_go(OffloadedLayers& offloaded, const int32_t* held, int count) {
  offloaded.rows().let_go(held, count);
}

void fetch_rows_ahead(OffloadedLayers& offloaded, int layer, int head, const RowPlace* places, int count) {
  bool there[most_rows_held];
  for (int i = 0; i < count; ++i)
    there[i] = offloaded.parts()[int64_t{places[i].page} * offloaded.layout().layers + layer] != nullptr;
  offloaded.rows().fetch_ahead(layer, head, places, count, there);
}

}  // namespace vivace
