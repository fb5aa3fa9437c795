#include "cuda/program/weights.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "cuda/quant/fragments.h"

namespace vivace::cuda {
namespace {

// Memory that is read by something else than as a weight of linear, or is no weight.
std::set<const std::byte*> read_as_stored(const Program& program) {
  std::set<const std::byte*> found;
  for (const CallInfo& call : program.calls)
    for (size_t i = 0; i < call.inputs.size(); ++i)
      if (call.inputs[i] >= 0 && (i != 1 || std::strcmp(call.op->name, "linear") != 0))
        found.insert(program.values[static_cast<size_t>(call.inputs[i])].data);
  for (const int id : program.outputs) found.insert(program.values[static_cast<size_t>(id)].data);
  return found;
}

}  // namespace

void Weights::plan(const Program& program) {
  offsets_.assign(program.values.size(), -1);
  fragments_.assign(program.values.size(), false);
  const std::set<const std::byte*> stored = read_as_stored(program);
  std::map<std::pair<const std::byte*, int64_t>, int64_t> known;
  for (size_t id = 0; id < program.values.size(); ++id) {
    const ValueInfo& value = program.values[id];
    if (value.kind != ValueKind::weight && value.kind != ValueKind::constant) continue;
    const int64_t size = value.rows * row_bytes(value.dtype, value.columns);
    const auto [entry, fresh] = known.emplace(std::pair{value.data, size}, bytes_);
    const bool fragments = has_fragments(value.dtype, value.columns) && stored.count(value.data) == 0;
    offsets_[id] = entry->second;
    fragments_[id] = fragments;
    if (!fresh) continue;
    parts_.push_back({value.data, bytes_, size, fragments, value.dtype, value.rows, value.columns});
    total_ += size;
    const int64_t kept = fragments ? fragment_layout(value.dtype).bytes(value.rows, value.columns) : size;
    bytes_ += (kept + alignment - 1) / alignment * alignment;
  }
  bytes_ += alignment;  // wide loads of the last rows may end beyond them
}

double Weights::load(int64_t bytes, Stream& stream) {
  if (memory_.data() == nullptr) memory_.reserve(bytes_);
  while (bytes > 0 && next_ < parts_.size()) {
    const Part& part = parts_[next_];
    int64_t most = piece;
    if (part.fragments) {  // whole strips
      const int64_t strip = FragmentLayout::rows * row_bytes(part.dtype, part.columns);
      most = std::max(piece / strip, int64_t{1}) * strip;
    }
    const int64_t count = std::min(most, part.bytes - within_);
    PinnedBuffer& staging = staging_[turn_];
    staging.reserve(std::max(piece, count));
    ready_[turn_].wait();  // for the copy before the last one
    std::memcpy(staging.data(), part.from + within_, static_cast<size_t>(count));
    send(part, staging.data(), count, stream);
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
    stored_.release();
  }
  return loaded() ? 1.0 : static_cast<double>(done_) / static_cast<double>(total_);
}

// Bytes of a part from within_ on, out of pinned memory.
void Weights::send(const Part& part, const std::byte* from, int64_t count, Stream& stream) {
  if (!part.fragments) {
    stream.copy_to_device(memory_.data() + part.offset + within_, from, count);
    return;
  }
  if (stored_.size() < count) {
    stream.wait();  // what lies there may still be read
    stored_.reserve(std::max(piece, count));
  }
  const int64_t stride = row_bytes(part.dtype, part.columns), strip = within_ / stride / FragmentLayout::rows;
  stream.copy_to_device(stored_.data(), from, count);
  to_fragments(part.dtype, reinterpret_cast<const uint8_t*>(stored_.data()),
               reinterpret_cast<uint8_t*>(memory_.data() + part.offset) +
                   strip * fragment_layout(part.dtype).strip_bytes(part.columns),
               count / stride, part.columns, stream.get());
}

std::byte* Weights::find(int value) const {
  const int64_t offset = offsets_[static_cast<size_t>(value)];
  return offset < 0 ? nullptr : memory_.data() + offset;
}

}  // namespace vivace::cuda
