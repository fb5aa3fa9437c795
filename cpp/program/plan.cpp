#include "program/plan.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace vivace {
namespace {

constexpr int64_t alignment = 64;
int64_t aligned(int64_t bytes) {
  return (bytes + alignment - 1) / alignment * alignment;
}

Tensor shape_of(const ValueInfo& value, int64_t rows, int64_t outputs) {
  Tensor tensor;
  tensor.dtype = value.dtype;
  tensor.rows = actual_rows(value, rows, outputs);
  tensor.columns = value.columns;
  tensor.stride = row_bytes(value.dtype, value.columns);
  return tensor;
}

// A call of this name over experts that a store brings into memory.
bool is_stored(const Program& program, const CallInfo& call, const char* name) {
  return std::strcmp(call.op->name, name) == 0 && program.values[static_cast<size_t>(call.inputs[1])].data == nullptr;
}

// First-fit memory over [0, ∞): free gaps by offset.
class Gaps {
 public:
  int64_t take(int64_t bytes) {
    for (auto gap = free_.begin(); gap != free_.end(); ++gap) {
      if (gap->second < bytes) continue;
      const int64_t offset = gap->first, rest = gap->second - bytes;
      free_.erase(gap);
      if (rest > 0) free_[offset + bytes] = rest;
      return offset;
    }
    // Extend the last gap when it touches the end.
    int64_t offset = end_;
    if (!free_.empty()) {
      auto last = std::prev(free_.end());
      if (last->first + last->second == end_) {
        offset = last->first;
        free_.erase(last);
      }
    }
    end_ = offset + bytes;
    return offset;
  }
  void give(int64_t offset, int64_t bytes) {
    auto next = free_.lower_bound(offset);
    if (next != free_.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == offset) {
        offset = before->first;
        bytes += before->second;
        free_.erase(before);
      }
    }
    if (next != free_.end() && offset + bytes == next->first) {
      bytes += next->second;
      free_.erase(next);
    }
    free_[offset] = bytes;
  }
  int64_t end() const { return end_; }

 private:
  std::map<int64_t, int64_t> free_;  // offset → bytes
  int64_t end_ = 0;
};

}  // namespace

void check_program(const Program& program) {
  const int count = static_cast<int>(program.values.size());
  std::vector<bool> known(program.values.size());
  for (int i = 0; i < count; ++i) {
    const ValueInfo& value = program.values[i];
    known[i] = value.kind != ValueKind::value;
    const DTypeInfo* type = find_dtype(value.dtype);
    if (type == nullptr || value.columns < 1 || value.columns % type->block != 0 || value.rows < outputs_symbol)
      throw Error("INTERNAL", "program: value " + value.name + " has no valid type or shape");
  }
  for (const CallInfo& call : program.calls) {
    const int inputs = static_cast<int>(call.inputs.size());
    if (inputs < call.op->min_inputs || inputs > call.op->max_inputs ||
        static_cast<int>(call.outputs.size()) != call.op->outputs ||
        static_cast<int>(call.attributes.size()) != call.op->attribute_count)
      throw Error("INTERNAL",
                  std::string("program: wrong number of inputs, outputs or attributes for ") + call.op->name);
    for (int i = 0; i < inputs; ++i) {
      const int id = call.inputs[i];
      if (id == -1 && i >= call.op->min_inputs) continue;
      if (id < 0 || id >= count || !known[id])
        throw Error("INTERNAL", std::string("program: ") + call.op->name + " reads a value that is not there yet");
    }
    for (int id : call.outputs) {
      if (id < 0 || id >= count || known[id])
        throw Error("INTERNAL", std::string("program: ") + call.op->name + " writes a value twice");
      known[id] = true;
    }
  }
  for (int id : program.outputs)
    if (id < 0 || id >= count || !known[id]) throw Error("INTERNAL", "program: an output is never computed");
}

Plan make_plan(const Program& program, int64_t rows, int64_t outputs, int threads) {
  const size_t count = program.values.size();
  Plan plan;
  plan.rows = rows;
  plan.outputs = outputs;
  plan.offsets.assign(count, -1);

  std::vector<int> last_use(count, -1);
  for (size_t i = 0; i < program.calls.size(); ++i)
    for (int id : program.calls[i].inputs)
      if (id >= 0) last_use[id] = static_cast<int>(i);
  for (int id : program.outputs) last_use[id] = static_cast<int>(program.calls.size());
  // What waves of experts read and write is read again by later waves.
  for (size_t i = 0; i < program.calls.size(); ++i) {
    if (!is_stored(program, program.calls[i], "expert_gate_up")) continue;
    size_t down = i;
    while (down + 1 < program.calls.size() && !is_stored(program, program.calls[down], "expert_down")) ++down;
    for (size_t k = i; k < down; ++k)
      for (int id : program.calls[k].inputs)
        if (id >= 0) last_use[id] = std::max(last_use[id], static_cast<int>(down));
  }

  const auto bytes_of = [&](int id) {
    const ValueInfo& value = program.values[id];
    return std::max<int64_t>(alignment,
                             aligned(actual_rows(value, rows, outputs) * row_bytes(value.dtype, value.columns)));
  };

  Gaps gaps;
  int64_t scratch = 0, products = 0;
  for (size_t i = 0; i < program.calls.size(); ++i) {
    const CallInfo& call = program.calls[i];
    OpShapes shapes;
    shapes.input_count = static_cast<int>(call.inputs.size());
    shapes.output_count = static_cast<int>(call.outputs.size());
    shapes.attributes = call.attributes.data();
    shapes.threads = threads;
    for (int k = 0; k < shapes.input_count; ++k)
      if (call.inputs[k] >= 0) shapes.inputs[k] = shape_of(program.values[call.inputs[k]], rows, outputs);
    for (int k = 0; k < shapes.output_count; ++k)
      shapes.outputs[k] = shape_of(program.values[call.outputs[k]], rows, outputs);
    call.op->check(shapes);
    if (call.op->scratch != nullptr) {
      int64_t& its = is_stored(program, call, "expert_down") ? products : scratch;
      its = std::max(its, aligned(static_cast<int64_t>(call.op->scratch(shapes))));
    }

    const auto dies_here = [&](int id) {
      return id >= 0 && last_use[id] == static_cast<int>(i) && plan.offsets[id] >= 0;
    };
    int taken_over = -1;
    if (call.op->in_place && !call.outputs.empty() && dies_here(call.inputs[0]) &&
        std::count(call.inputs.begin(), call.inputs.end(), call.inputs[0]) == 1 &&
        bytes_of(call.inputs[0]) == bytes_of(call.outputs[0])) {
      taken_over = call.inputs[0];
      plan.offsets[call.outputs[0]] = plan.offsets[taken_over];
    }
    for (int id : call.outputs)
      if (plan.offsets[id] < 0) plan.offsets[id] = gaps.take(bytes_of(id));
    for (size_t k = 0; k < call.inputs.size(); ++k) {
      const int id = call.inputs[k];
      const bool again = std::find(call.inputs.begin(), call.inputs.begin() + static_cast<std::ptrdiff_t>(k), id) !=
                         call.inputs.begin() + static_cast<std::ptrdiff_t>(k);
      if (!again && id != taken_over && dies_here(id)) gaps.give(plan.offsets[id], bytes_of(id));
    }
    for (int id : call.outputs)
      if (last_use[id] < 0) gaps.give(plan.offsets[id], bytes_of(id));
  }
  plan.scratch_offset = gaps.end();
  plan.products_offset = gaps.end() + scratch;
  plan.bytes = plan.products_offset + products;
  return plan;
}

}  // namespace vivace
