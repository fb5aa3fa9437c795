#include "program/profile.h"

#include <algorithm>
#include <cstring>

#include "caches/paged_kv.h"

namespace vivace {
namespace {

bool is(const CallInfo& call, const char* name) {
  return std::strcmp(call.op->name, name) == 0;
}

double attribute(const CallInfo& call, const char* name) {
  for (int i = 0; i < call.op->attribute_count; ++i)
    if (std::strcmp(call.op->attributes[i], name) == 0) return call.attributes[static_cast<size_t>(i)];
  return 0;
}

}  // namespace

Profile::Profile(const Program& program) : program_(&program), times_(program.calls.size()) {
  for (size_t i = 0; i < program.calls.size(); ++i) {
    const CallInfo& call = program.calls[i];
    if (is(call, "attention")) cells_.push_back({i, static_cast<int64_t>(attribute(call, "window"))});
    const bool gate = is(call, "expert_gate_up");
    if (!gate && !is(call, "expert_down")) continue;
    const ValueInfo& ids = program.values[static_cast<size_t>(call.inputs[gate ? 3 : 2])];
    experts_.push_back({i, attribute(call, "experts"), static_cast<double>(ids.columns), ids.rows == outputs_symbol});
  }
}

void Profile::ran(int64_t rows, int64_t outputs, const Batch* batch, const PagedKv* kv) {
  rows_ += static_cast<double>(rows);
  outputs_ += static_cast<double>(outputs);
  for (Experts& one : experts_)
    one.met += std::min(one.count, one.used * static_cast<double>(one.of_outputs ? outputs : rows));
  if (batch == nullptr || kv == nullptr) return;
  cell_bytes_ = kv->options().kv_heads * static_cast<double>(kv->key_row_bytes() + kv->value_row_bytes());
  head_dims_ = kv->options().key_dim + kv->options().value_dim;
  for (Cells& cells : cells_) {
    int64_t longest = 0;
    for (int64_t row = 0; row < batch->rows; ++row) {
      int64_t seen = batch->cells[row] + 1;
      if (cells.window > 0) seen = std::min(seen, cells.window);
      cells.scored += static_cast<double>(seen);
      // Rows of one sequence share what they read.
      longest = std::max(longest, seen);
      const bool last = row + 1 == batch->rows || batch->sequences[row + 1] != batch->sequences[row];
      if (!last) continue;
      cells.read += static_cast<double>(longest);
      longest = 0;
    }
  }
}

std::vector<CallProfile> Profile::entries() const {
  std::vector<CallProfile> list;
  for (size_t i = 0; i < times_.size(); ++i) {
    const CallInfo& call = program_->calls[i];
    const auto calls = static_cast<double>(times_[i].calls);
    CallProfile entry;
    entry.op = call.op->name;
    entry.calls = times_[i].calls;
    entry.seconds = times_[i].seconds;
    const bool looks_up = is(call, "embedding");
    const bool of_outputs =
        !call.outputs.empty() && program_->values[static_cast<size_t>(call.outputs[0])].rows == outputs_symbol;
    const double rows = of_outputs ? outputs_ : rows_;
    const auto found =
        std::find_if(experts_.begin(), experts_.end(), [&](const Experts& one) { return one.call == i; });
    const Experts* const experts = found == experts_.end() ? nullptr : &*found;
    const auto count = [&](int id) {
      if (id < 0) return;
      const ValueInfo& value = program_->values[static_cast<size_t>(id)];
      const auto row = static_cast<double>(row_bytes(value.dtype, value.columns));
      const bool is_matrix = value.kind == ValueKind::weight && value.rows > 1;
      if (is_matrix) {
        entry.weight = value.name;
        entry.dtype = value.dtype;
        entry.rows = value.rows;
        entry.columns = value.columns;
      }
      if (value.rows == rows_symbol || (is_matrix && looks_up)) {
        entry.bytes += rows_ * row;
      } else if (value.rows == outputs_symbol) {
        entry.bytes += outputs_ * row;
      } else if (is_matrix && experts != nullptr) {
        entry.bytes += experts->met / experts->count * static_cast<double>(value.rows) * row;
      } else {
        entry.bytes += calls * static_cast<double>(value.rows) * row;
      }
    };
    for (int id : call.inputs) count(id);
    for (int id : call.outputs) count(id);
    if (is(call, "linear") || is(call, "gated_linear") || experts != nullptr) {
      entry.operations = 2 * rows * static_cast<double>(entry.rows) * static_cast<double>(entry.columns);
      if (experts != nullptr) entry.operations *= experts->used / experts->count;
      if (is(call, "gated_linear") || is(call, "expert_gate_up")) entry.operations *= 2;
    }
    list.push_back(std::move(entry));
    for (const Cells& cells : cells_) {
      if (cells.call != i) continue;
      list.back().bytes += cells.read * cell_bytes_;
      list.back().operations = 2 * cells.scored * attribute(call, "heads") * head_dims_;
    }
  }
  CallProfile draws;
  draws.op = "sample";
  draws.calls = draws_.calls;
  draws.seconds = draws_.seconds;
  list.push_back(std::move(draws));
  return list;
}

}  // namespace vivace
