#include "cuda/program/weights.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <set>

#include "cuda/quant/fragments.h"

namespace vivace::cuda {
namespace {

bool is(const CallInfo& call, const char* op) {
  return std::strcmp(call.op->name, op) == 0;
}

bool has_experts(const CallInfo& call) {
  return is(call, "expert_gate_up") || is(call, "expert_down");
}

// How many of a call's inputs, from the second one on, are weights of products.
size_t product_weights(const CallInfo& call) {
  return is(call, "linear") || is(call, "expert_down")            ? 1
         : is(call, "gated_linear") || is(call, "expert_gate_up") ? 2
                                                                  : 0;
}

// Memory that is read by something else than as a weight of a product, or is no weight.
std::set<const std::byte*> read_as_stored(const Program& program) {
  std::set<const std::byte*> found;
  for (const CallInfo& call : program.calls)
    for (size_t i = 0; i < call.inputs.size(); ++i)
      if (call.inputs[i] >= 0 && (i < 1 || i > product_weights(call)))
        found.insert(program.values[static_cast<size_t>(call.inputs[i])].data);
  for (const int id : program.outputs) found.insert(program.values[static_cast<size_t>(id)].data);
  return found;
}

}  // namespace

void Weights::plan(const Program& program, std::shared_ptr<const Weights> base) {
  base_ = std::move(base);
  sources_.assign(program.values.size(), Source{nullptr, 0, false});
  fragments_.assign(program.values.size(), false);
  const std::set<const std::byte*> stored = read_as_stored(program);
  // gated_linear has no kernel for other orders, whoever else reads the memory; gate and up of experts lie in one
  // order.
  std::set<int> gates, straddling;
  for (const CallInfo& call : program.calls) {
    if (product_weights(call) == 2) gates.insert({call.inputs[1], call.inputs[2]});
    if (!has_experts(call)) continue;
    const ValueInfo& first = program.values[static_cast<size_t>(call.inputs[1])];
    const auto experts = static_cast<int64_t>(call.attributes[0]);
    if (expert_fragments(first.dtype, first.rows, experts, first.columns)) continue;
    for (size_t i = 1; i <= product_weights(call); ++i) straddling.insert(call.inputs[i]);
  }
  for (size_t id = 0; id < program.values.size(); ++id) {
    const ValueInfo& value = program.values[id];
    if (value.kind != ValueKind::weight && value.kind != ValueKind::constant) continue;
    const int64_t size = value.rows * row_bytes(value.dtype, value.columns);
    const bool fragments = has_fragments(value.dtype, value.columns) && straddling.count(static_cast<int>(id)) == 0 &&
                           (stored.count(value.data) == 0 || gates.count(static_cast<int>(id)) != 0);
    sources_[id] = {value.data, size, fragments};
    fragments_[id] = fragments;
    if (has(sources_[id])) continue;
    known_.emplace(sources_[id], bytes_);
    parts_.push_back({value.data, bytes_, size, fragments, value.dtype, value.rows, value.columns});
    total_ += size;
    const int64_t kept = fragments ? fragment_bytes(value.dtype, value.rows, value.columns) : size;
    bytes_ += (kept + alignment - 1) / alignment * alignment;
  }
  bytes_ += alignment;  // wide loads of the last rows may end beyond them
}

double Weights::load(int64_t bytes) {
  using Clock = std::chrono::steady_clock;
  if (memory_.data() == nullptr) memory_.reserve(bytes_);
  if (upload_ == nullptr) upload_ = std::make_unique<Upload>();
  // Time counts from here on, and one piece is sent however long it takes: every call gets on.
  const Clock::time_point begin = Clock::now();
  for (bool first = true; bytes > 0 && next_ < parts_.size(); first = false) {
    if (!first && Clock::now() - begin >= most_time) break;
    const Part& part = parts_[next_];
    int64_t most = Upload::piece;
    if (part.fragments) {  // whole strips
      const int64_t strip = FragmentLayout::rows * row_bytes(part.dtype, part.columns);
      most = std::max(most / strip, int64_t{1}) * strip;
    }
    const int64_t count = std::min(most, part.bytes - within_);
    send(part, count);
    within_ += count;
    done_ += count;
    bytes -= count;
    if (within_ < part.bytes) continue;
    ++next_;
    within_ = 0;
  }
  if (next_ < parts_.size()) return static_cast<double>(done_) / static_cast<double>(total_);
  upload_->wait();
  sent_ = upload_->sent();
  upload_.reset();
  return 1.0;
}

// Bytes of a part from within_ on.
void Weights::send(const Part& part, int64_t count) {
  const std::byte* from = part.from + within_;
  if (!part.fragments) return upload_->copy(memory_.data() + part.offset + within_, from, count);
  const int64_t stride = row_bytes(part.dtype, part.columns), strip = within_ / stride / FragmentLayout::rows;
  std::byte* to = memory_.data() + part.offset + strip * fragment_strip_bytes(part.dtype, part.columns);
  upload_->copy_by_way(from, count, [&](const std::byte* stored, cudaStream_t stream) {
    to_fragments(part.dtype, reinterpret_cast<const uint8_t*>(stored), reinterpret_cast<uint8_t*>(to), count / stride,
                 part.columns, stream);
  });
}

std::byte* Weights::find(const Source& source) const {
  const auto known = known_.find(source);
  if (known != known_.end()) return memory_.data() + known->second;
  return base_ ? base_->find(source) : nullptr;
}

std::byte* Weights::find(int value) const {
  const Source& source = sources_[static_cast<size_t>(value)];
  return std::get<0>(source) == nullptr ? nullptr : find(source);
}

}  // namespace vivace::cuda
