#include "cuda/emulation/block.h"

#include <algorithm>

namespace vivace::emulation {

thread_local Thread* this_thread __attribute__((tls_model("initial-exec"))) = nullptr;

namespace {

constexpr int exchanges_per_warp = 8;

std::string place(const Thread& thread) {
  const Index &block = thread.block->index(), &at = thread.index;
  const auto triple = [](const Index& i) {
    return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
  };
  return "block " + triple(block) + ", thread " + triple(at);
}

}  // namespace

void Block::enter(void* argument) {
  Thread& thread = *static_cast<Thread*>(argument);
  thread.fiber.entered();
  thread.block->launch_->body(thread.block->launch_->arguments);
  thread.state = Thread::State::done;
  thread.fiber.suspend();
}

void Block::start(Index index) {
  index_ = index;
  error_.clear();
  const Extent& size = launch_->block;
  const size_t count = size_t{size.x} * size.y * size.z;
  if (threads_.size() < count) threads_.resize(count);
  exchanges_.assign((count + 31) / 32 * exchanges_per_warp, {});
  memory_.start(launch_->dynamic_bytes);
  unsigned rank = 0;
  for (unsigned z = 0; z < size.z; ++z)
    for (unsigned y = 0; y < size.y; ++y)
      for (unsigned x = 0; x < size.x; ++x, ++rank) {
        Thread& thread = threads_[rank];
        thread.index = {x, y, z};
        thread.rank = rank;
        thread.state = Thread::State::ready;
        thread.exchange = nullptr;
        thread.order = {};
        thread.copies.clear();
        thread.block = this;
        thread.fiber.prepare(enter, &thread);
      }
}

bool Block::run(const LaunchInfo& launch, Index index) {
  launch_ = &launch;
  start(index);
  const size_t count = size_t{launch.block.x} * launch.block.y * launch.block.z;
  size_t done = 0;
  while (done < count) {
    bool progress = false;
    for (size_t i = 0; i < count; ++i) {
      Thread& thread = threads_[i];
      if (thread.state == Thread::State::exchange && thread.exchange->complete) thread.state = Thread::State::ready;
      if (thread.state != Thread::State::ready) continue;
      progress = true;
      this_thread = &thread;
      thread.fiber.resume();
      this_thread = nullptr;
      if (!error_.empty()) return false;
      if (thread.state == Thread::State::done) ++done;
    }
    if (progress) continue;
    if (done == 0 && release_barrier()) continue;
    error_ = std::string(launch.name) + ": " + waiting();
    return false;
  }
  return true;
}

// All threads wait at a barrier: they go on.
bool Block::release_barrier() {
  const size_t count = size_t{launch_->block.x} * launch_->block.y * launch_->block.z;
  barrier_sum_ = 0;
  for (size_t i = 0; i < count; ++i) {
    if (threads_[i].state != Thread::State::barrier) return false;
    barrier_sum_ += threads_[i].barrier_value;
  }
  for (size_t i = 0; i < count; ++i) threads_[i].state = Thread::State::ready;
  memory_.next_epoch();
  return true;
}

std::string Block::waiting() const {
  const size_t count = size_t{launch_->block.x} * launch_->block.y * launch_->block.z;
  size_t at_barrier = 0, at_exchange = 0, ended = 0;
  const Thread* first = nullptr;
  for (size_t i = 0; i < count; ++i) {
    const Thread& thread = threads_[i];
    at_barrier += thread.state == Thread::State::barrier ? 1 : 0;
    at_exchange += thread.state == Thread::State::exchange ? 1 : 0;
    ended += thread.state == Thread::State::done ? 1 : 0;
    if (first == nullptr && thread.state != Thread::State::done) first = &thread;
  }
  return "not all threads reach a barrier: " + std::to_string(at_barrier) + " wait at __syncthreads, " +
         std::to_string(at_exchange) + " for lanes of their warp, " + std::to_string(ended) +
         " have ended; the first " + "that waits is " + place(*first);
}

int Block::barrier(int value) {
  Thread& thread = *this_thread;
  thread.barrier_value = value;
  thread.state = Thread::State::barrier;
  thread.fiber.suspend();
  return barrier_sum_;
}

Exchange& Block::exchange(unsigned mask, int kind, uint64_t value) {
  Thread& thread = *this_thread;
  const int lane = thread.lane();
  if ((mask >> lane & 1) == 0) fail("a lane takes part in an exchange whose mask leaves it out");
  const size_t count = size_t{launch_->block.x} * launch_->block.y * launch_->block.z;
  const size_t warp = thread.rank / 32;
  // Lanes that the block does not have cannot arrive; a full mask means those that are there.
  const size_t lanes = std::min<size_t>(32, count - warp * 32);
  const unsigned present = lanes == 32 ? ~0u : (1u << lanes) - 1;
  Exchange* free = nullptr;
  Exchange* found = nullptr;
  for (int i = 0; i < exchanges_per_warp; ++i) {
    Exchange& one = exchanges_[warp * exchanges_per_warp + static_cast<size_t>(i)];
    if (!one.used && free == nullptr) free = &one;
    if (one.used && !one.complete && one.mask == (mask & present)) found = &one;
  }
  if (found == nullptr) {
    if (free == nullptr) fail("too many exchanges of one warp at once");
    *free = {};
    free->used = true;
    free->mask = mask & present;
    free->kind = kind;
    found = free;
  }
  if (found->kind != kind) fail("lanes of one mask meet in different operations");
  found->values[lane] = value;
  found->arrived |= 1u << lane;
  if (found->arrived == found->mask) {
    found->complete = true;
    if (kind == sync_lanes) order_lanes(warp, found->mask);
    found->unread = found->mask;
  } else {
    thread.exchange = found;
    thread.state = Thread::State::exchange;
    thread.fiber.suspend();
  }
  return *found;
}

void Block::release(Exchange& exchange) {
  exchange.unread &= ~(1u << this_thread->lane());
  if (exchange.unread == 0) exchange.used = false;
}

// __syncwarp: what any of these lanes did or knew of comes before what all of them do next. (Shuffles and votes order
// nothing: that is what CUDA's manual says of them.)
void Block::order_lanes(size_t warp, unsigned mask) {
  constexpr uint32_t last = (1u << 20) - 1;  // what a moment holds; from there on all is taken for ordered
  uint32_t seen[32] = {};
  Thread* lanes = &threads_[warp * 32];
  for (size_t lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    WarpOrder& order = lanes[lane].order;
    order.seen[lane] = order.clock;
    for (size_t i = 0; i < 32; ++i) seen[i] = std::max(seen[i], order.seen[i]);
  }
  for (size_t lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    WarpOrder& order = lanes[lane].order;
    std::copy(seen, seen + 32, order.seen);
    order.clock = std::min(order.clock + 1, last);
  }
}

std::byte* Block::shared(const void* key, size_t bytes, size_t alignment) {
  if (key == nullptr) return memory_.dynamic();
  std::byte* found = memory_.array(key, bytes, alignment);
  if (found == nullptr) fail("more than " + std::to_string(SharedMemory::limit / 1024) + " KiB of shared memory");
  return found;
}

void Block::check_read(const SharedPlace& place) {
  const std::string wrong = memory_.read(place, this_thread->rank, this_thread->order);
  if (!wrong.empty()) fail(wrong);
}
void Block::check_write(const SharedPlace& place, const void* value) {
  const std::string wrong = memory_.write(place, this_thread->rank, this_thread->order, value);
  if (!wrong.empty()) fail(wrong);
}
void Block::check_change(const SharedPlace& place) {
  const std::string wrong = memory_.change(place, this_thread->rank, this_thread->order);
  if (!wrong.empty()) fail(wrong);
}
void Block::begin_copy(const PendingCopy& copy) {
  const std::string wrong = memory_.begin_copy(copy.to, this_thread->rank, this_thread->order);
  if (!wrong.empty()) fail(wrong);
}
void Block::end_copy(const PendingCopy& copy) {
  memory_.end_copy(copy.to, this_thread->rank, this_thread->order, copy.from);
}

void Block::fail(const std::string& what) {
  Thread& thread = *this_thread;
  error_ = std::string(launch_->name) + ": " + what + " (" + place(thread) + ")";
  for (;;) thread.fiber.suspend();  // run() ends the block; nobody comes back
}

}  // namespace vivace::emulation
