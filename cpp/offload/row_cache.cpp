#include "offload/row_cache.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>

#include "core/error.h"

namespace vivace {

RowCache::RowCache(const OffloadOptions& options, PageFile& file, int64_t rows, bool poison)
    : file_(file),
      layout_(file.layout()),
      slot_bytes_(slot_bytes(layout_)),
      poison_(poison),
      slots_(static_cast<size_t>(rows)),
      guesses_(static_cast<size_t>(layout_.layers)) {
  for (int i = 0; i < std::max(1, options.readers); ++i) readers_.emplace_back([this] { work(); });
}

RowCache::~RowCache() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  for (std::thread& reader : readers_) reader.join();
}

int32_t& RowCache::index(int32_t page, int32_t row) {
  if (pages_.size() <= static_cast<size_t>(page)) pages_.resize(static_cast<size_t>(page) + 1);
  std::unique_ptr<int32_t[]>& rows = pages_[static_cast<size_t>(page)];
  if (rows == nullptr) {
    const auto count = static_cast<size_t>(layout_.layers * layout_.heads * layout_.page_size);
    rows = std::make_unique<int32_t[]>(count);
    std::fill_n(rows.get(), count, -1);
  }
  return rows[static_cast<size_t>(row)];
}

void RowCache::reserve() {
  std::lock_guard lock(mutex_);
  if (memory_.size() > 0) return;
  memory_.reserve(rows() * slot_bytes_);
  if (poison_) std::memset(memory_.data(), 0xff, static_cast<size_t>(rows() * slot_bytes_));
  free_.resize(slots_.size());
  for (size_t i = 0; i < free_.size(); ++i) free_[i] = static_cast<int32_t>(free_.size() - 1 - i);
}

void RowCache::begin_run() {
  std::lock_guard lock(mutex_);
  ++run_;
  error_ = nullptr;
  layer_ = 0;
  ahead_layer_ = -1;
}

void RowCache::begin_layer(int layer) {
  std::lock_guard lock(mutex_);
  layer_ = layer;
}

bool RowCache::gives(const Slot& slot, bool gently) const {
  if (slot.pins > 0 || slot.state != State::ready) return false;
  if (slot.unused && slot.guessed == run_ && slot.layer >= layer_) return false;
  return !gently || slot.used + 1 < run_;
}

int32_t RowCache::take(bool ahead) {
  if (!free_.empty()) {
    const int32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  const auto count = static_cast<uint64_t>(slots_.size());
  const uint64_t start = (draws_ += 0x9e3779b97f4a7c15) % count;
  constexpr uint64_t near = 8;
  for (const bool gently : {true, false})
    for (uint64_t i = 0; i < (gently || ahead ? near : count); ++i) {
      const auto slot = static_cast<int32_t>((start + i) % count);
      if (!gives(slots_[static_cast<size_t>(slot)], gently)) continue;
      free_slot(slot);
      free_.pop_back();
      return slot;
    }
  return -1;
}

void RowCache::free_slot(int32_t slot) {
  Slot& one = slots_[static_cast<size_t>(slot)];
  if (one.unused) ++statistics_.vain;
  if (!one.lost && one.page >= 0) index(one.page, one.row) = -1;
  if (poison_) std::memset(at(slot), 0xff, static_cast<size_t>(slot_bytes_));
  one = Slot{};
  free_.push_back(slot);
}

bool RowCache::hold(int layer, int head, const RowPlace* places, int count, const std::byte** rows, int32_t* held) {
  std::unique_lock lock(mutex_);
  if (error_ != nullptr) return false;
  const int32_t first = (layer * layout_.heads + head) * layout_.page_size;
  const bool guessing = guesses_[static_cast<size_t>(layer)] == run_;
  bool waits = false, missing = false;
  int pinned = 0;
  try {
    for (; pinned < count; ++pinned) {
      if (rows[pinned] != nullptr) {
        held[pinned] = -1;
        ++statistics_.resident;
        continue;
      }
      const RowPlace& place = places[pinned];
      int32_t& known = index(place.page, first + place.slot);
      const bool there = known >= 0;
      if (!there) {
        const int32_t taken = take(false);
        if (taken < 0) break;
        known = taken;
        Slot& fresh = slots_[static_cast<size_t>(taken)];
        fresh.page = place.page;
        fresh.row = first + place.slot;
        fresh.layer = static_cast<int16_t>(layer);
        fresh.state = State::queued;
      }
      Slot& slot = slots_[static_cast<size_t>(known)];
      if (slot.state == State::queued) urgent_.push_back(known), missing = true;
      ++(!there ? statistics_.missed : slot.unused ? statistics_.foreseen : statistics_.kept);
      statistics_.guessed_of += guessing ? 1 : 0;
      statistics_.guessed += guessing && slot.guessed == run_ ? 1 : 0;
      slot.unused = false;
      slot.used = run_;
      ++slot.pins;
      held[pinned] = known;
      rows[pinned] = at(known);
      waits = waits || slot.state != State::ready;
    }
  } catch (const std::bad_alloc&) {
    error_ = std::make_exception_ptr(Error("OUT_OF_MEMORY", "There is no memory left for the places of rows"));
  }
  if (missing) work_.notify_all();
  if (pinned < count && error_ == nullptr)
    error_ = std::make_exception_ptr(Error("INTERNAL", "offloaded rows: more are held than there is room for"));
  const auto all_there = [&] {
    if (error_ != nullptr) return true;
    for (int i = 0; i < pinned; ++i)
      if (held[i] >= 0 && slots_[static_cast<size_t>(held[i])].state != State::ready) return false;
    return true;
  };
  if (waits && !all_there()) {
    const auto from = std::chrono::steady_clock::now();
    // Who waits reads, too: for short reads to be woken takes longer than to read.
    Job job;
    while (!all_there()) {
      if (next_job(urgent_, job))
        read(lock, job);
      else
        ready_.wait(lock);
    }
    statistics_.stall_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
  }
  if (error_ == nullptr) return true;
  lock.unlock();
  let_go(held, pinned);
  return false;
}

void RowCache::let_go(const int32_t* held, int count) {
  std::lock_guard lock(mutex_);
  for (int i = 0; i < count; ++i) {
    if (held[i] < 0) continue;
    Slot& slot = slots_[static_cast<size_t>(held[i])];
    if (--slot.pins == 0 && slot.state == State::broken) free_slot(held[i]);
  }
}

void RowCache::fetch_ahead(int layer, int head, const RowPlace* places, int count, const bool* elsewhere) {
  {
    std::lock_guard lock(mutex_);
    if (error_ != nullptr) return;
    if (ahead_layer_ != layer) ahead_rows_ = 0;
    ahead_layer_ = layer;
    guesses_[static_cast<size_t>(layer)] = run_;
    const int32_t first = (layer * layout_.heads + head) * layout_.page_size;
    try {
      for (int i = 0; i < count; ++i) {
        if (elsewhere[i]) continue;
        int32_t& known = index(places[i].page, first + places[i].slot);
        if (known < 0) {
          if (4 * ahead_rows_ >= rows()) continue;
          const int32_t taken = take(true);
          if (taken < 0) continue;
          known = taken;
          Slot& fresh = slots_[static_cast<size_t>(taken)];
          fresh.page = places[i].page;
          fresh.row = first + places[i].slot;
          fresh.layer = static_cast<int16_t>(layer);
          fresh.state = State::queued;
          fresh.unused = true;
          ahead_.push_back(taken);
          ++ahead_rows_;
        }
        slots_[static_cast<size_t>(known)].guessed = run_;
      }
    } catch (const std::bad_alloc&) {
      // Then less is fetched ahead.
    }
  }
  work_.notify_all();
}

void RowCache::drop(int32_t page, int layer) {
  std::lock_guard lock(mutex_);
  if (pages_.size() <= static_cast<size_t>(page) || pages_[static_cast<size_t>(page)] == nullptr) return;
  const int32_t count = layout_.heads * layout_.page_size;
  for (int32_t row = layer * count; row < (layer + 1) * count; ++row) {
    int32_t& known = pages_[static_cast<size_t>(page)][static_cast<size_t>(row)];
    if (known < 0) continue;
    Slot& slot = slots_[static_cast<size_t>(known)];
    if (slot.state == State::reading) {
      slot.lost = true;
      known = -1;
    } else {
      free_slot(known);
    }
  }
}

void RowCache::drop(int32_t page) {
  for (int layer = 0; layer < layout_.layers; ++layer) drop(page, layer);
  std::lock_guard lock(mutex_);
  if (pages_.size() > static_cast<size_t>(page)) pages_[static_cast<size_t>(page)].reset();
}

void RowCache::rest() {
  std::unique_lock lock(mutex_);
  urgent_.clear();
  ahead_.clear();
  ready_.wait(lock, [&] { return reading_ == 0; });
  pages_.clear();
  free_.clear();
  for (Slot& slot : slots_) {
    if (slot.unused) ++statistics_.vain;
    slot = Slot{};
  }
  memory_.release();
}

int64_t RowCache::bytes() const {
  std::lock_guard lock(mutex_);
  return memory_.size();
}

OffloadStatistics RowCache::statistics() const {
  std::lock_guard lock(mutex_);
  return statistics_;
}

std::exception_ptr RowCache::error() const {
  std::lock_guard lock(mutex_);
  return error_;
}

// What is queued twice is read once.
bool RowCache::next_job(std::deque<int32_t>& queue, Job& job) {
  job.count = 0;
  while (!queue.empty() && job.count < Job::most) {
    const int32_t slot = queue.front();
    queue.pop_front();
    if (slots_[static_cast<size_t>(slot)].state != State::queued) continue;
    slots_[static_cast<size_t>(slot)].state = State::reading;
    job.slots[job.count++] = slot;
  }
  return job.count > 0;
}

void RowCache::work() {
  Job job;
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (next_job(urgent_, job) || next_job(ahead_, job))
      read(lock, job);
    else
      work_.wait(lock);
  }
}

// Neighbours in the file by one read.
void RowCache::read(std::unique_lock<std::mutex>& lock, const Job& job) {
  struct Row {
    int32_t page, row, slot;
  };
  Row rows[Job::most];
  const int count = job.count;
  for (int i = 0; i < count; ++i) {
    const Slot& one = slots_[static_cast<size_t>(job.slots[i])];
    rows[i] = {one.page, one.row, job.slots[i]};
  }
  ++reading_;
  lock.unlock();
  std::sort(rows, rows + count,
            [](const Row& a, const Row& b) { return a.page != b.page ? a.page < b.page : a.row < b.row; });
  const int size = layout_.page_size;
  std::exception_ptr error;
  TemporaryFile::Part parts[Job::most];
  int done = 0;
  try {
    while (done < count) {
      const Row& first = rows[done];
      int some = 0;
      for (; done + some < count; ++some) {
        const Row& one = rows[done + some];
        const int32_t next = first.row + some;
        if (one.page != first.page || one.row != next || next / size != first.row / size) break;
        parts[some] = {at(one.slot), layout_.row_bytes()};
      }
      const int head = first.row / size % layout_.heads, layer = first.row / size / layout_.heads;
      file_.read_head_rows(first.page, layer, head, first.row % size, parts, some);
      done += some;
    }
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  --reading_;
  for (int i = 0; i < count; ++i) {
    Slot& slot = slots_[static_cast<size_t>(rows[i].slot)];
    if (slot.lost) {
      free_slot(rows[i].slot);
    } else if (i < done) {
      slot.state = State::ready;
    } else if (slot.pins == 0) {  // fetched ahead: who wants it, tries again
      free_slot(rows[i].slot);
    } else {
      slot.state = State::broken;
      if (error_ == nullptr) error_ = error;
    }
  }
  ready_.notify_all();
}

}  // namespace vivace
