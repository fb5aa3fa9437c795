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
  for (size_t i = 0; i < program.calls.size(); ++i)
    if (is(program.calls[i], "attention"))
      cells_.push_back({i, static_cast<int64_t>(attribute(program.calls[i], "window"))});
}

void Profile::ran(int64_t rows, int64_t outputs, const Batch* batch, const PagedKv* kv) {
  rows_ += static_cast<double>(rows);
  outputs_ += static_cast<double>(outputs);
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
  const auto rows_of = [&](int id) { return program_->values[static_cast<size_t>(id)].rows; };
  const auto ids_of = [&](const CallInfo& call) {
    return static_cast<size_t>(call.inputs[is(call, "expert_gate_up") ? 3 : 2]);
  };
  for (size_t i = 0; i < times_.size(); ++i) {
    const CallInfo& call = program_->calls[i];
    const auto calls = static_cast<double>(times_[i].calls);
    CallProfile entry;
    entry.op = call.op->name;
    entry.calls = times_[i].calls;
    entry.seconds = times_[i].seconds;
    const bool looks_up = is(call, "embedding");
    const double experts = is(call, "expert_gate_up") || is(call, "expert_down") ? attribute(call, "experts") : 0;
    const bool of_outputs = !call.outputs.empty() && rows_of(call.outputs[0]) == outputs_symbol;
    const double rows = of_outputs ? outputs_ : rows_;
    double used = 0;  // experts of a row
    if (experts > 0) used = static_cast<double>(program_->values[ids_of(call)].columns);
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
      } else if (is_matrix && experts > 0) {  // at most: rows may have chosen the same
        entry.bytes += std::min(calls * experts, rows * used) / experts * static_cast<double>(value.rows) * row;
      } else {
        entry.bytes += calls * static_cast<double>(value.rows) * row;
      }
    };
    for (int id : call.inputs) count(id);
    for (int id : call.outputs) count(id);
    if (is(call, "linear") || is(call, "gated_linear") || experts > 0) {
      entry.operations = 2 * rows * static_cast<double>(entry.rows) * static_cast<double>(entry.columns);
      if (experts > 0) entry.operations *= used / experts;
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
