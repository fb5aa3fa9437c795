#include "program/rewrite/fuse.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "core/error.h"

namespace vivace {
namespace {

bool is(const CallInfo& call, const char* name) {
  return std::strcmp(call.op->name, name) == 0;
}

int uses(const Program& program, int value) {
  int count = 0;
  for (const CallInfo& call : program.calls)
    for (int input : call.inputs) count += input == value ? 1 : 0;
  for (int output : program.outputs) count += output == value ? 1 : 0;
  return count;
}

// The call that computes a value, or -1 for inputs, weights and constants.
int producer(const Program& program, int value) {
  for (size_t i = 0; i < program.calls.size(); ++i)
    for (int output : program.calls[i].outputs)
      if (output == value) return static_cast<int>(i);
  return -1;
}

// The input that is an op's residual; 0 for ops without.
size_t residual_of(const CallInfo& call) {
  return is(call, "linear") ? 3 : is(call, "expert_down") ? 4 : 0;
}

// add(r, linear(x)) → linear(x, residual r), when nothing else reads the linear's output and r is known before it; so
// with the sum of experts.
// The sum of two floats does not depend on their order, so the bits stay.
void linear_add(Program& program) {
  for (size_t i = 0; i < program.calls.size(); ++i) {
    if (!is(program.calls[i], "add")) continue;
    for (int side = 0; side < 2; ++side) {
      const CallInfo& add = program.calls[i];
      const int linear_value = add.inputs[side], residual = add.inputs[1 - side];
      const int at = producer(program, linear_value);
      if (at < 0 || residual_of(program.calls[at]) == 0 || uses(program, linear_value) != 1) continue;
      if (producer(program, residual) >= at || linear_value == residual) continue;
      if (program.values[residual].rows != program.values[linear_value].rows) continue;
      CallInfo& linear = program.calls[at];
      const size_t place = residual_of(linear);
      linear.inputs.resize(place + 1, -1);
      if (linear.inputs[place] != -1) continue;
      linear.inputs[place] = residual;
      linear.outputs[0] = add.outputs[0];
      program.calls.erase(program.calls.begin() + static_cast<std::ptrdiff_t>(i));
      --i;
      break;
    }
  }
}

const FusionRule rules[] = {
    {"linear_add", "add(r, linear(x)) → linear(x) with residual r in its epilogue, and so expert_down", linear_add},
};

}  // namespace

const FusionRule* fusion_rules(int& count) {
  count = static_cast<int>(sizeof(rules) / sizeof(rules[0]));
  return rules;
}

void lower_quantized_linears(Program& program) {
  std::map<std::pair<int, DType>, int> quantized;  // F32 value and wanted type → its quantised form
  std::vector<CallInfo> calls;
  for (CallInfo& call : program.calls) {
    const bool multiplies = is(call, "linear") || is(call, "expert_gate_up") || is(call, "expert_down");
    const DType wanted = multiplies ? activations_for(program.values[call.inputs[1]].dtype) : DType::F32;
    if (wanted != DType::F32) {
      const int x = call.inputs[0];
      auto known = quantized.find({x, wanted});
      if (known == quantized.end()) {
        ValueInfo value = program.values[x];
        value.name += wanted == DType::A8 ? ".a8" : ".a8_token";
        value.dtype = wanted;
        value.kind = ValueKind::value;
        value.data = nullptr;
        const int id = static_cast<int>(program.values.size());
        program.values.push_back(value);
        const char* name = wanted == DType::A8 ? "quantize_rows" : "quantize_tokens";
        const OpInfo* op = find_op(name);
        if (op == nullptr) throw Error("INTERNAL", std::string("op ") + name + " is missing");
        calls.push_back({op, {x}, {id}, {}});
        known = quantized.emplace(std::pair{x, wanted}, id).first;
      }
      call.inputs[0] = known->second;
    }
    calls.push_back(std::move(call));
  }
  program.calls = std::move(calls);
}

void fuse_quantizers(Program& program, bool tokens) {
  for (size_t i = 0; i < program.calls.size(); ++i) {
    if (!is(program.calls[i], "quantize_rows") && !(tokens && is(program.calls[i], "quantize_tokens"))) continue;
    const int x = program.calls[i].inputs[0];
    const int at = producer(program, x);
    if (at < 0 || uses(program, x) != 1) continue;
    const CallInfo& maker = program.calls[static_cast<size_t>(at)];
    if (is(maker, "expert_gate_up") && is(program.calls[i], "quantize_rows")) {  // writes either type itself
      program.calls[static_cast<size_t>(at)].outputs = program.calls[i].outputs;
      program.calls.erase(program.calls.begin() + static_cast<std::ptrdiff_t>(i));
      --i;
      continue;
    }
    // Norms of heads have several groups per row.
    const bool norm = is(maker, "rms_norm") && program.values[static_cast<size_t>(maker.inputs[1])].columns ==
                                                   program.values[static_cast<size_t>(x)].columns;
    if (!norm && !is(maker, "gated_activation")) continue;
    const char* name = norm ? "rms_norm_quantize" : "gated_activation_quantize";
    const OpInfo* op = find_op(name);
    if (op == nullptr) throw Error("INTERNAL", std::string("op ") + name + " is missing");
    // What the maker reads may be overwritten in place by then, so both happen where the maker stood.
    program.calls[static_cast<size_t>(at)] = {op, maker.inputs, program.calls[i].outputs, maker.attributes};
    program.calls.erase(program.calls.begin() + static_cast<std::ptrdiff_t>(i));
    --i;
  }
}

void fuse_gates(Program& program, bool (*serves)(DType, int64_t)) {
  for (size_t i = 0; i < program.calls.size(); ++i) {
    const CallInfo& gate = program.calls[i];
    if (!is(gate, "gated_activation") && !is(gate, "gated_activation_quantize")) continue;
    // A scale of a whole row is nothing that a unit of columns knows.
    if (program.values[static_cast<size_t>(gate.outputs[0])].dtype == DType::A8_TOKEN) continue;
    const int sides[2] = {producer(program, gate.inputs[0]), producer(program, gate.inputs[1])};
    const auto fits = [&](int side) {
      if (sides[side] < 0 || uses(program, gate.inputs[side]) != 1) return false;
      const CallInfo& call = program.calls[static_cast<size_t>(sides[side])];
      if (!is(call, "linear")) return false;
      for (size_t k = 2; k < call.inputs.size(); ++k)
        if (call.inputs[k] != -1) return false;  // a bias or a residual
      return true;
    };
    if (!fits(0) || !fits(1)) continue;
    const std::vector<int>&left = program.calls[static_cast<size_t>(sides[0])].inputs,
          &right = program.calls[static_cast<size_t>(sides[1])].inputs;
    const auto type_of = [&](int id) { return program.values[static_cast<size_t>(id)].dtype; };
    if (left[0] != right[0] || type_of(left[1]) != type_of(right[1])) continue;
    if (!serves(type_of(left[1]), program.values[static_cast<size_t>(left[1])].columns)) continue;
    // A device may want the weights of this op in an order of their own.
    if (uses(program, left[1]) != 1 || uses(program, right[1]) != 1) continue;
    const OpInfo* op = find_op("gated_linear");
    if (op == nullptr) throw Error("INTERNAL", "op gated_linear is missing");
    program.calls[i] = {op, {left[0], left[1], right[1]}, gate.outputs, gate.attributes};
    for (const int side : {std::max(sides[0], sides[1]), std::min(sides[0], sides[1])})
      program.calls.erase(program.calls.begin() + side);
    i -= 2;
  }
}

}  // namespace vivace
