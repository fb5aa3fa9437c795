// The table of all ops of a device: the rows of cpp/ops/registry.cpp, which has their contracts and checks.
#include <cstring>

#include "cuda/program/device_op.h"

namespace vivace::cuda {

// Each in cuda/ops/<family>/<name>.cu.
void embedding(const DeviceRun&);
void linear(const DeviceRun&);
void linear_joined(const DeviceRun* const*, int);
void quantize_rows(const DeviceRun&);
void quantize_tokens(const DeviceRun&);
void column_select(const DeviceRun&);
void concat(const DeviceRun&);
void add(const DeviceRun&);
void attention(const DeviceRun&);
size_t attention_state(const OpShapes&);
Pattern attention_pattern(const double*, const DeviceKv&);
void expert_down(const DeviceRun&);
void expert_gate_up(const DeviceRun&);
void gated_activation(const DeviceRun&);
void gated_activation_quantize(const DeviceRun&);
void gated_linear(const DeviceRun&);
void kv_write(const DeviceRun&);
void layer_norm(const DeviceRun&);
void log_softmax(const DeviceRun&);
void mul(const DeviceRun&);
void rms_norm(const DeviceRun&);
void rms_norm_quantize(const DeviceRun&);
void rope(const DeviceRun&);
void rope_table(const DeviceRun&);
void route(const DeviceRun&);
void row_select(const DeviceRun&);
void scale(const DeviceRun&);
void sigmoid_gate(const DeviceRun&);
void soft_cap(const DeviceRun&);
void softmax(const DeviceRun&);

// Their scratch memory.
size_t expert_down_memory(const OpShapes&, const DeviceProperties&);
size_t expert_gate_up_memory(const OpShapes&, const DeviceProperties&);
size_t gated_linear_memory(const OpShapes&, const DeviceProperties&);
size_t linear_memory(const OpShapes&, const DeviceProperties&);
size_t linear_joined_memory(const OpShapes*, int, const DeviceProperties&);

namespace {

const DeviceOp table[] = {
    {"embedding", embedding, nullptr},
    {"linear", linear, linear_memory, nullptr, linear_joined, linear_joined_memory},
    {"quantize_rows", quantize_rows, nullptr},
    {"quantize_tokens", quantize_tokens, nullptr},
    {"column_select", column_select, nullptr},
    {"concat", concat, nullptr},
    {"add", add, nullptr},
    {"attention", attention, nullptr, attention_state, nullptr, nullptr, attention_pattern},
    {"expert_down", expert_down, expert_down_memory},
    {"expert_gate_up", expert_gate_up, expert_gate_up_memory},
    {"gated_activation", gated_activation, nullptr},
    {"gated_activation_quantize", gated_activation_quantize, nullptr},
    {"gated_linear", gated_linear, gated_linear_memory},
    {"kv_write", kv_write, nullptr},
    {"layer_norm", layer_norm, nullptr},
    {"log_softmax", log_softmax, nullptr},
    {"mul", mul, nullptr},
    {"rms_norm", rms_norm, nullptr},
    {"rms_norm_quantize", rms_norm_quantize, nullptr},
    {"rope", rope, nullptr},
    {"rope_table", rope_table, nullptr},
    {"route", route, nullptr},
    {"row_select", row_select, nullptr},
    {"scale", scale, nullptr},
    {"sigmoid_gate", sigmoid_gate, nullptr},
    {"soft_cap", soft_cap, nullptr},
    {"softmax", softmax, nullptr},
};

}  // namespace

const DeviceOp* find_device_op(const char* name) {
  for (const DeviceOp& op : table)
    if (std::strcmp(op.name, name) == 0) return &op;
  return nullptr;
}

}  // namespace vivace::cuda
