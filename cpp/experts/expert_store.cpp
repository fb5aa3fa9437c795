#include "experts/expert_store.h"

#include <algorithm>

#include "core/error.h"

namespace vivace {
namespace {

constexpr int64_t block = DirectFile::block;
int64_t up(int64_t bytes) {
  return (bytes + block - 1) / block * block;
}

// Experts with any count, the most popular first; of equal ones the one with the lower rank, then number, first.
std::vector<int> by_popularity(const std::vector<int32_t>& counts, const std::vector<int32_t>* ranks = nullptr) {
  std::vector<int> order;
  for (size_t e = 0; e < counts.size(); ++e)
    if (counts[e] > 0) order.push_back(static_cast<int>(e));
  std::stable_sort(order.begin(), order.end(), [&](int left, int right) {
    const auto a = static_cast<size_t>(left), b = static_cast<size_t>(right);
    if (counts[a] != counts[b]) return counts[a] > counts[b];
    return ranks != nullptr && (*ranks)[a] < (*ranks)[b];
  });
  return order;
}

// A thread that slept until then wakes up to 0.1 ms late, which is much of a small copy: the end is waited for awake.
void wait_until(std::chrono::steady_clock::time_point then) {
  std::this_thread::sleep_until(then - std::chrono::microseconds(100));
  while (std::chrono::steady_clock::now() < then) std::this_thread::yield();
}

}  // namespace

int64_t slot_bytes(const int64_t (&bytes)[3]) {
  int64_t sum = 0;
  for (const int64_t matrix : bytes) sum += up(matrix) + block;  // wherever in a block it begins
  return sum;
}

ExpertStore::ExpertStore(ExpertStoreOptions options)
    : options_(std::move(options)), paths_(static_cast<int>(options_.layers.size()), options_.experts) {
  for (const std::string& file : options_.files) files_.push_back(std::make_unique<DirectFile>(file));
  const auto experts = static_cast<size_t>(options_.experts);
  int kept = 0;
  for (const StoredLayer& layer : options_.layers) {
    slot_bytes_ = std::max(slot_bytes_, slot_bytes(layer.bytes));
    caches_.emplace_back(options_.replacement, layer.capacity, options_.experts);
    kept += caches_.back().capacity();
    if (layer.matrices.size() != 3 * experts) throw Error("INTERNAL", "experts: a layer's matrices are not all there");
    for (const StoredMatrix& matrix : layer.matrices)
      if (matrix.file < 0 || static_cast<size_t>(matrix.file) >= files_.size() || matrix.offset < 0)
        throw Error("INTERNAL", "experts: a matrix has no place");
  }
  if (options_.slots <= kept || options_.chunk_bytes % block != 0 || options_.chunk_bytes <= 0)
    throw Error("INTERNAL", "experts: no slot is left for experts on their way");
  experts_.resize(options_.layers.size() * experts);
  memory_ = std::make_unique<Mapping>(slot_bytes_ * options_.slots);
  for (int slot = options_.slots - 1; slot >= 0; --slot) free_.push_back(slot);
  for (auto& places : places_) places.assign(experts, nullptr);
  for (int m = 0; m < 3; ++m) wave_.matrices[m] = places_[m].data();
  statistics_.layers.resize(options_.layers.size());
  for (int i = 0; i < options_.readers; ++i) readers_.emplace_back([this] { work(); });
}

ExpertStore::~ExpertStore() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  for (std::thread& reader : readers_) reader.join();
}

std::byte* ExpertStore::place(int layer, int expert, int matrix, int slot) const {
  const StoredLayer& of = options_.layers[static_cast<size_t>(layer)];
  std::byte* area = memory_->writable() + slot * slot_bytes_;
  for (int m = 0; m < matrix; ++m) area += up(of.bytes[m]) + block;
  return area + of.matrices[static_cast<size_t>(3 * expert + matrix)].offset % block;
}

int ExpertStore::chunks_of(int layer, int expert) const {
  const StoredLayer& of = options_.layers[static_cast<size_t>(layer)];
  int64_t count = 0;
  for (int m = 0; m < 3; ++m) {
    const int64_t within = of.matrices[static_cast<size_t>(3 * expert + m)].offset % block;
    count += (up(within + of.bytes[m]) + options_.chunk_bytes - 1) / options_.chunk_bytes;
  }
  return static_cast<int>(count);
}

ExpertStore::Chunk ExpertStore::chunk(int layer, int expert, int index) const {
  const StoredLayer& of = options_.layers[static_cast<size_t>(layer)];
  const int slot = experts_[static_cast<size_t>(layer * options_.experts + expert)].slot;
  int64_t before = index;
  for (int m = 0;; ++m) {
    const StoredMatrix& matrix = of.matrices[static_cast<size_t>(3 * expert + m)];
    const int64_t within = matrix.offset % block, all = up(within + of.bytes[m]);
    const int64_t chunks = (all + options_.chunk_bytes - 1) / options_.chunk_bytes;
    if (before >= chunks) {
      before -= chunks;
      continue;
    }
    const int64_t from = before * options_.chunk_bytes, bytes = std::min(options_.chunk_bytes, all - from);
    return {layer,
            expert,
            matrix.file,
            matrix.offset - within + from,
            bytes,
            std::min(bytes, within + of.bytes[m] - from),
            place(layer, expert, m, slot) - within + from};
  }
}

void ExpertStore::queue(int layer, int expert, bool urgent) {
  Expert& one = at(layer, expert);
  one.urgent = one.urgent || urgent;
  if (one.broken) {
    one.again = true;
  } else if (one.unwanted) {  // its copy goes on where it is
    one.unwanted = false;
    if (one.chunks_begun < chunks_of(layer, expert)) queue_.emplace_back(layer, expert);
  } else if (one.state == State::absent) {
    if (queue_.empty()) work_since_ = Clock::now();
    one.state = State::queued;
    one.order = ++order_;
    queue_.emplace_back(layer, expert);
  }
}

void ExpertStore::unqueue(int layer, int expert) {
  std::erase(queue_, std::pair{layer, expert});
}

void ExpertStore::free_slot(Expert& expert) {
  if (expert.slot >= 0) {
    if (free_.empty()) work_since_ = Clock::now();
    free_.push_back(expert.slot);
  }
  expert = Expert{};
}

void ExpertStore::leave(int layer, int expert) {
  Expert& one = at(layer, expert);
  one.urgent = one.needed = one.computed = one.predicted = one.again = false;
  if (one.state == State::queued) {
    unqueue(layer, expert);
    ++statistics_.dropped;
    one.unwanted = one.chunks_done < one.chunks_begun;
  }
  if (!one.unwanted) free_slot(one);
}

void ExpertStore::begin(bool begins_text) {
  std::lock_guard lock(mutex_);
  ++statistics_.runs;
  error_ = nullptr;
  if (begins_text) paths_.begin();
  for (int layer = 0; layer < layers(); ++layer)
    for (int e = 0; e < options_.experts; ++e) {
      Expert& one = at(layer, e);
      const bool stays = one.state == State::ready && caches_[static_cast<size_t>(layer)].has(e);
      one.needed = one.computed = one.predicted = one.urgent = false;
      if (!stays && one.state != State::absent && !one.unwanted) leave(layer, e);
    }
  for (auto& places : places_) std::fill(places.begin(), places.end(), nullptr);
  computing_.clear();
  needed_.clear();
  left_ = 0;
}

void ExpertStore::needs(int layer, const std::vector<int32_t>& counts) {
  {
    std::lock_guard lock(mutex_);
    LayerStatistics& seen = statistics_.layers[static_cast<size_t>(layer)];
    const ExpertCache& cache = caches_[static_cast<size_t>(layer)];
    needed_ = by_popularity(counts);
    left_ = needed_.size();
    bool had_prediction = false;
    for (int e = 0; e < options_.experts; ++e) had_prediction = had_prediction || at(layer, e).predicted;
    int missing = 0;
    for (const int e : needed_) {
      Expert& one = at(layer, e);
      const bool there = one.state == State::ready;
      ++seen.needed;
      ++(there && cache.has(e) ? seen.hits : one.predicted ? seen.predicted : seen.missed);
      if (had_prediction) {
        seen.choices += counts[static_cast<size_t>(e)];
        if (one.predicted) seen.foreseen += counts[static_cast<size_t>(e)];
      }
      one.needed = true;
      one.computed = false;
      if (one.slot < 0) ++missing;
    }
    // What was predicted in vain makes room.
    for (int e = 0; e < options_.experts; ++e) {
      Expert& one = at(layer, e);
      if (one.needed || one.state == State::absent || one.unwanted) continue;
      if (one.state == State::ready && cache.has(e)) continue;
      if (one.state == State::ready) ++statistics_.dropped;
      leave(layer, e);
    }
    for (int e = 0; e < options_.experts; ++e) at(layer, e).predicted = false;
    all_fit_ = missing <= static_cast<int>(free_.size());
    for (const int e : needed_) queue(layer, e, true);
    paths_.observe(layer, counts);
  }
  work_.notify_all();
  if (layer + 1 == layers()) return;
  if (options_.predictor == ExpertPredictor::paths)
    prefetch(layer + 1, by_popularity(paths_.predict(
                            layer + 1, std::max(options_.predicted_most, static_cast<int>(needed_.size())))));
  if (options_.predictor == ExpertPredictor::script) prefetch(layer + 1, scripted(layer + 1));
}

void ExpertStore::predicts(int layer, const std::vector<int32_t>& counts, const std::vector<int32_t>& ranks) {
  if (options_.predictor == ExpertPredictor::router) prefetch(layer, by_popularity(counts, &ranks));
}

std::vector<int> ExpertStore::scripted(int layer) const {
  const auto most = static_cast<size_t>(options_.script_most);
  const size_t at =
      (static_cast<size_t>(statistics_.runs - 1) * options_.layers.size() + static_cast<size_t>(layer)) * most;
  std::vector<int> experts;
  for (size_t i = at; i < std::min(at + most, options_.script.size()); ++i)
    if (options_.script[i] >= 0 && options_.script[i] < options_.experts) experts.push_back(options_.script[i]);
  return experts;
}

void ExpertStore::prefetch(int layer, const std::vector<int>& experts) {
  {
    std::lock_guard lock(mutex_);
    for (const int e : experts) {
      queue(layer, e, false);
      at(layer, e).predicted = true;
    }
  }
  work_.notify_all();
}

bool ExpertStore::next_wave(int layer) {
  std::unique_lock lock(mutex_);
  ExpertCache& cache = caches_[static_cast<size_t>(layer)];
  for (const int e : computing_) {
    for (auto& places : places_) places[static_cast<size_t>(e)] = nullptr;
    at(layer, e).computed = true;
    --left_;
    if (all_fit_ || cache.has(e)) continue;
    // More experts than slots: what there is room for stays, and the rest makes room for what comes.
    if (cache.held() < cache.capacity() && cache.use(e) < 0 && cache.has(e)) continue;
    leave(layer, e);
  }
  const bool freed = !computing_.empty();
  computing_.clear();
  if (left_ == 0) {
    finish_layer(layer);
    lock.unlock();
    work_.notify_all();
    return false;
  }
  if (freed) work_.notify_all();
  const auto gather = [&] {
    computing_.clear();
    size_t slots_held = 0;
    for (const int e : needed_) {
      const Expert& one = at(layer, e);
      if (one.computed) continue;
      if (one.state == State::ready) computing_.push_back(e);
      if (one.slot >= 0) ++slots_held;
    }
    if (error_ != nullptr) return true;
    if (options_.pipelined) return !computing_.empty();
    // All that can be there at a time.
    return computing_.size() == left_ || (free_.empty() && !computing_.empty() && computing_.size() == slots_held);
  };
  if (!gather()) {
    const Clock::time_point from = Clock::now();
    ready_.wait(lock, gather);
    statistics_.stall_seconds += std::chrono::duration<double>(Clock::now() - from).count();
  }
  if (error_ != nullptr) {
    computing_.clear();
    return false;
  }
  for (const int e : computing_)
    for (int m = 0; m < 3; ++m) places_[m][static_cast<size_t>(e)] = place(layer, e, m, at(layer, e).slot);
  wave_.last = computing_.size() == left_;
  return true;
}

void ExpertStore::finish_layer(int layer) {
  ExpertCache& cache = caches_[static_cast<size_t>(layer)];
  if (all_fit_)
    for (auto e = needed_.rbegin(); e != needed_.rend(); ++e) {  // the most popular one is used last
      const int left = cache.use(*e);
      if (left >= 0 && !at(layer, left).needed) leave(layer, left);
    }
  for (const int e : needed_) {
    Expert& one = at(layer, e);
    one.needed = one.computed = one.urgent = false;
    if (one.state == State::ready && !cache.has(e)) leave(layer, e);
  }
  needed_.clear();
}

bool ExpertStore::failed() const {
  std::lock_guard lock(mutex_);
  return error_ != nullptr;
}

void ExpertStore::check() {
  std::lock_guard lock(mutex_);
  if (error_ != nullptr) std::rethrow_exception(error_);
}

StoreStatistics ExpertStore::statistics() const {
  std::lock_guard lock(mutex_);
  StoreStatistics result = statistics_;
  for (const auto& file : files_) result.direct = result.direct && file->direct();
  return result;
}

// The chunk that matters most of those that have a slot or can be given one.
bool ExpertStore::next_chunk(Chunk& chunk_out) {
  const std::pair<int, int>* best = nullptr;
  for (const auto& entry : queue_) {
    const Expert& one = at(entry.first, entry.second);
    if (one.slot < 0 && free_.empty()) continue;
    if (best != nullptr) {
      const Expert& other = at(best->first, best->second);
      if (one.urgent != other.urgent ? other.urgent : other.order < one.order) continue;
    }
    best = &entry;
  }
  if (best == nullptr) return false;
  const auto [layer, expert] = *best;
  Expert& one = at(layer, expert);
  if (one.slot < 0) {
    one.slot = free_.back();
    free_.pop_back();
  }
  chunk_out = chunk(layer, expert, one.chunks_begun);
  if (++one.chunks_begun == chunks_of(layer, expert)) unqueue(layer, expert);
  return true;
}

void ExpertStore::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    Chunk next{};
    // Which copy matters most is decided when the link is free, not before.
    if (!queue_.empty() && options_.bytes_per_second > 0 && Clock::now() < link_free_ && !stop_) {
      work_.wait_until(lock, link_free_);
      continue;
    }
    if (stop_) return;
    if (!next_chunk(next)) {
      work_.wait(lock);
      continue;
    }
    read(lock, next);
  }
}

std::string ExpertStore::name(const Chunk& chunk) const {
  return "expert " + std::to_string(chunk.expert) + " of layer " + std::to_string(chunk.layer) + " in " +
         options_.files[static_cast<size_t>(chunk.file)];
}

// A link that has more to move goes on at once, though the thread that moves it wakes late.
ExpertStore::Clock::time_point ExpertStore::begin_of_copy() const {
  const Clock::time_point now = Clock::now();
  return std::min(now, std::max({link_free_, work_since_, now - std::chrono::milliseconds(2)}));
}

void ExpertStore::read(std::unique_lock<std::mutex>& lock, const Chunk& chunk) {
  Clock::time_point over = Clock::now();
  if (options_.bytes_per_second > 0) {
    over = begin_of_copy();
    over += std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(static_cast<double>(chunk.bytes) / options_.bytes_per_second));
    link_free_ = over;
  }
  if (options_.delay_us > 0) {
    // splitmix64
    uint64_t bits = options_.seed += 0x9e3779b97f4a7c15;
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
    over += std::chrono::microseconds((bits ^ bits >> 31) % static_cast<uint64_t>(options_.delay_us));
  }
  if (reading_++ == 0) busy_since_ = Clock::now();
  lock.unlock();
  std::exception_ptr error;
  try {
    const int64_t got = files_[static_cast<size_t>(chunk.file)]->read(chunk.offset, chunk.bytes, chunk.to);
    if (got < chunk.needed)
      throw Error("FORMAT_TRUNCATED", "The file ends before " + name(chunk),
                  "It was changed while the model was loaded, or is incomplete: load the model again.");
  } catch (...) {
    error = std::current_exception();
  }
  if (options_.bytes_per_second > 0 || options_.delay_us > 0) wait_until(over);
  lock.lock();
  if (--reading_ == 0) statistics_.link_seconds += std::chrono::duration<double>(Clock::now() - busy_since_).count();
  statistics_.bytes += chunk.bytes;
  Expert& one = at(chunk.layer, chunk.expert);
  ++one.chunks_done;
  if (error != nullptr) {
    unqueue(chunk.layer, chunk.expert);
    one.unwanted = one.broken = true;
    if (one.needed && error_ == nullptr) error_ = error;
  }
  if (one.unwanted && one.chunks_done == one.chunks_begun) {
    const Expert before = one;
    free_slot(one);
    one.needed = before.needed;
    one.predicted = before.predicted;
    if (before.again) queue(chunk.layer, chunk.expert, before.urgent);
    work_.notify_all();
  } else if (one.chunks_done == chunks_of(chunk.layer, chunk.expert)) {
    one.state = State::ready;
    ++statistics_.copies;
  }
  ready_.notify_all();
}

}  // namespace vivace
