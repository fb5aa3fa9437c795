#include "cuda/emulation/shared_memory.h"

#include <algorithm>
#include <cstring>

namespace vivace::emulation {

namespace {

std::string in_array(const SharedPlace& place) {
  return "byte " + std::to_string(place.at - place.begin) + " of a shared array of " + std::to_string(place.size) +
         " bytes";
}

std::string race(const char* what, const SharedPlace& place, const char* other_does, int other) {
  return std::string("a race: it ") + what + " " + in_array(place) + ", which thread " + std::to_string(other) + " " +
         other_does + " with no barrier between them";
}

}  // namespace

void SharedMemory::start(size_t dynamic_bytes) {
  const size_t used = std::min(limit + 16, (used_ + 15) / 16 * 16);
  // What a kernel forgets to write is seen: a conspicuous pattern, and not the last block's values.
  std::fill_n(memory_.begin(), used, std::byte{0xcd});
  std::fill_n(states_.begin(), used, unwritten);
  std::fill_n(split_.begin(), used / 4, false);
  arrays_.clear();
  used_ = dynamic_bytes;
  ++epoch_;  // cells need no clearing: they tell of other epochs
}

std::byte* SharedMemory::array(const void* key, size_t bytes, size_t alignment) {
  for (const Array& array : arrays_)
    if (array.key == key) return memory_.data() + array.offset;
  const size_t offset = (used_ + alignment - 1) / alignment * alignment;
  if (offset + bytes > limit) return nullptr;
  arrays_.push_back({key, offset});
  used_ = offset + bytes;
  return memory_.data() + offset;
}

std::string SharedMemory::misplaced(const SharedPlace& place, const char* what) const {
  const std::ptrdiff_t offset = place.at - place.begin;
  if (offset < 0 || static_cast<size_t>(offset) + place.bytes > place.size)
    return std::string(what) + " of " + std::to_string(place.bytes) + " bytes beyond a shared array of " +
           std::to_string(place.size) + " bytes, at byte " + std::to_string(offset);
  const bool power = (place.bytes & (place.bytes - 1)) == 0;
  if (power && place.bytes <= 16 && reinterpret_cast<uintptr_t>(place.at) % place.bytes != 0)
    return std::string(what) + " of " + std::to_string(place.bytes) + " bytes at " + in_array(place) + ": misaligned";
  return "";
}

bool SharedMemory::all_are(State state, size_t from, size_t bytes) const {
  return std::all_of(&states_[from], &states_[from] + bytes, [=](State one) { return one == state; });
}
bool SharedMemory::any_is(State state, size_t from, size_t bytes) const {
  return std::any_of(&states_[from], &states_[from] + bytes, [=](State one) { return one == state; });
}

bool SharedMemory::ordered(Moment before, unsigned thread, const WarpOrder& order) const {
  if (before.epoch != epoch_ || before.thread == thread) return true;
  return before.thread / 32 == thread / 32 && order.seen[before.thread % 32] >= before.clock;
}

template <class Visit>
void SharedMemory::each_cell(size_t from, size_t bytes, Visit&& visit) {
  const size_t end = from + bytes;
  for (size_t at = from; at < end;) {
    const size_t word = at / 4;
    if (at % 4 == 0 && at + 4 <= end && !split_[word]) {
      if (!visit(cells_[at], at, size_t{4})) return;
      at += 4;
      continue;
    }
    if (!split_[word]) {
      split_[word] = true;
      for (size_t i = 1; i < 4; ++i) cells_[word * 4 + i] = cells_[word * 4];
    }
    if (!visit(cells_[at], at, size_t{1})) return;
    ++at;
  }
}

// Threads that write the same value without order are no race: whoever comes last, the result is the same.
int SharedMemory::other_writer(size_t from, size_t bytes, unsigned thread, const WarpOrder& order, const void* value) {
  int found = -1;
  each_cell(from, bytes, [&](const Cell& cell, size_t at, size_t count) {
    if (ordered(cell.write, thread, order)) return true;
    if (value != nullptr && std::memcmp(&memory_[at], static_cast<const char*>(value) + (at - from), count) == 0)
      return true;
    found = static_cast<int>(cell.write.thread);
    return false;
  });
  return found;
}

int SharedMemory::other_reader(size_t from, size_t bytes, unsigned thread, const WarpOrder& order) {
  int found = -1;
  each_cell(from, bytes, [&](const Cell& cell, size_t, size_t) {
    for (const Moment& one : {cell.read, cell.other_read})
      if (!ordered(one, thread, order)) found = static_cast<int>(one.thread);
    return found < 0;
  });
  return found;
}

std::string SharedMemory::unreadable(const SharedPlace& place, size_t from) const {
  return any_is(in_flight, from, place.bytes)
             ? "a read of " + in_array(place) + " to which an asynchronous copy is under way: nobody waited for it"
             : "a read of shared memory that nothing wrote, " + in_array(place);
}

std::string SharedMemory::read(const SharedPlace& place, unsigned thread, const WarpOrder& order) {
  if (std::string wrong = misplaced(place, "a read"); !wrong.empty()) return wrong;
  const size_t from = static_cast<size_t>(place.at - memory_.data());
  if (!all_are(written, from, place.bytes)) return unreadable(place, from);
  const Moment moment = now(thread, order);
  int other = -1;
  each_cell(from, place.bytes, [&](Cell& cell, size_t, size_t) {
    if (!ordered(cell.write, thread, order)) {
      other = static_cast<int>(cell.write.thread);
      return false;
    }
    // The two reads that are kept are of different threads, and if possible of different warps.
    const bool stale = cell.other_read.epoch != epoch_ || cell.other_read.thread == thread;
    if (cell.read.epoch == epoch_ && cell.read.thread != thread &&
        (stale || cell.read.thread / 32 != thread / 32 || cell.other_read.thread / 32 == thread / 32))
      cell.other_read = cell.read;
    cell.read = moment;
    return true;
  });
  return other < 0 ? "" : race("reads", place, "writes", other);
}

std::string SharedMemory::write(const SharedPlace& place, unsigned thread, const WarpOrder& order, const void* value) {
  if (std::string wrong = misplaced(place, "a write"); !wrong.empty()) return wrong;
  const size_t from = static_cast<size_t>(place.at - memory_.data());
  if (any_is(in_flight, from, place.bytes))
    return "a write to " + in_array(place) + " to which an asynchronous copy is under way";
  if (const int other = other_writer(from, place.bytes, thread, order, value); other >= 0)
    return race("writes", place, "writes too", other);
  if (const int other = other_reader(from, place.bytes, thread, order); other >= 0)
    return race("writes", place, "reads", other);
  const Moment moment = now(thread, order);
  each_cell(from, place.bytes, [&](Cell& cell, size_t, size_t) {
    cell.write = moment;
    return true;
  });
  std::fill_n(&states_[from], place.bytes, written);
  return "";
}

std::string SharedMemory::change(const SharedPlace& place, unsigned thread, const WarpOrder& order) {
  if (std::string wrong = misplaced(place, "a change"); !wrong.empty()) return wrong;
  const size_t from = static_cast<size_t>(place.at - memory_.data());
  if (!all_are(written, from, place.bytes)) return unreadable(place, from);
  Moment moment = now(thread, order);
  moment.atomic = 1;
  int other = other_reader(from, place.bytes, thread, order);
  if (other >= 0) return race("changes", place, "reads", other);
  each_cell(from, place.bytes, [&](Cell& cell, size_t, size_t) {
    const bool plain = cell.write.atomic == 0 && cell.write.epoch == epoch_;
    if (plain && !ordered(cell.write, thread, order)) other = static_cast<int>(cell.write.thread);
    if (!plain || cell.write.thread != thread) cell.write = moment;  // what a thread wrote before others must not meet
    return other < 0;
  });
  return other < 0 ? "" : race("changes", place, "writes", other);
}

std::string SharedMemory::begin_copy(const SharedPlace& place, unsigned thread, const WarpOrder& order) {
  if (std::string wrong = misplaced(place, "an asynchronous copy"); !wrong.empty()) return wrong;
  const size_t from = static_cast<size_t>(place.at - memory_.data());
  if (any_is(in_flight, from, place.bytes))
    return "an asynchronous copy to " + in_array(place) + " to which another one is under way";
  if (const int other = other_writer(from, place.bytes, thread, order, nullptr); other >= 0)
    return race("starts a copy to", place, "writes", other);
  if (const int other = other_reader(from, place.bytes, thread, order); other >= 0)
    return race("starts a copy to", place, "reads", other);
  std::fill_n(&states_[from], place.bytes, in_flight);
  return "";
}

void SharedMemory::end_copy(const SharedPlace& place, unsigned thread, const WarpOrder& order, const void* value) {
  const size_t from = static_cast<size_t>(place.at - memory_.data());
  const Moment moment = now(thread, order);
  each_cell(from, place.bytes, [&](Cell& cell, size_t, size_t) {
    cell.write = moment;
    return true;
  });
  std::fill_n(&states_[from], place.bytes, written);
  if (value != nullptr)
    std::memcpy(place.at, value, place.bytes);
  else
    std::memset(place.at, 0, place.bytes);
}

}  // namespace vivace::emulation
