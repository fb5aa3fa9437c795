#include "cuda/program/weights.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

namespace vivace::cuda {

void Weights::plan(const Program& program) {
  offsets_.assign(program.values.size(), -1);
  std::map<std::pair<const std::byte*, int64_t>, int64_t> known;
  for (size_t id = 0; id < program.values.size(); ++id) {
    const ValueInfo& value = program.values[id];
    if (value.kind != ValueKind::weight && value.kind != ValueKind::constant) continue;
    const int64_t size = value.rows * row_bytes(value.dtype, value.columns);
    const auto [entry, fresh] = known.emplace(std::pair{value.data, size}, bytes_);
    offsets_[id] = entry->second;
    if (!fresh) continue;
    parts_.push_back({value.data, bytes_, size});
    total_ += size;
    bytes_ += (size + alignment - 1) / alignment * alignment;
  }
  bytes_ += alignment;  // wide loads of the last rows may end beyond them
}

double Weights::load(int64_t bytes, Stream& stream) {
  if (memory_.data() == nullptr) memory_.reserve(bytes_);
  while (bytes > 0 && next_ < parts_.size()) {
    const Part& part = parts_[next_];
    const int64_t count = std::min(piece, part.bytes - within_);
    PinnedBuffer& staging = staging_[turn_];
    staging.reserve(piece);
    ready_[turn_].wait();  // for the copy before the last one
    std::memcpy(staging.data(), part.from + within_, static_cast<size_t>(count));
    stream.copy_to_device(memory_.data() + part.offset + within_, staging.data(), count);
    ready_[turn_].record(stream);
    turn_ = 1 - turn_;
    within_ += count;
    done_ += count;
    bytes -= count;
    if (within_ < part.bytes) continue;
    ++next_;
    within_ = 0;
  }
  if (loaded()) {
    stream.wait();
    for (PinnedBuffer& staging : staging_) staging.release();
  }
  return loaded() ? 1.0 : static_cast<double>(done_) / static_cast<double>(total_);
}

std::byte* Weights::find(int value) const {
  const int64_t offset = offsets_[static_cast<size_t>(value)];
  return offset < 0 ? nullptr : memory_.data() + offset;
}

}  // namespace vivace::cuda
