#include "program/rewrite/parts.h"

#include <algorithm>
#include <cstring>

namespace vivace {
namespace {

// Calls that use a layer of the cache: the first and the last one, in the order of the layers. Empty: layers are mixed.
std::vector<std::pair<size_t, size_t>> layer_calls(const Program& program) {
  std::vector<std::pair<size_t, size_t>> layers;
  for (size_t i = 0; i < program.calls.size(); ++i) {
    const CallInfo& call = program.calls[i];
    const bool writes = std::strcmp(call.op->name, "kv_write") == 0;
    if (!writes && std::strcmp(call.op->name, "attention") != 0) continue;
    const auto layer = static_cast<size_t>(call.attributes[0]);  // of both
    if (layer == layers.size() && writes) layers.push_back({i, i});
    if (layer + 1 != layers.size()) return {};
    layers.back().second = i;
  }
  return layers;
}

// What a row carries over a cut before the call; false where something else than rows would have to be carried.
bool carried_over(const Program& program, const std::vector<size_t>& made, const std::vector<size_t>& used, size_t cut,
                  std::vector<CarriedValue>& carried, int64_t& bytes) {
  carried.clear();
  bytes = 0;
  for (size_t id = 0; id < program.values.size(); ++id) {
    const ValueInfo& value = program.values[id];
    if (value.kind != ValueKind::value || made[id] >= cut || used[id] < cut) continue;
    if (value.rows != rows_symbol) return false;
    const int64_t own = row_bytes(value.dtype, value.columns);
    carried.push_back({static_cast<int>(id), bytes, own});
    bytes += (own + 15) / 16 * 16;
  }
  return true;
}

}  // namespace

ProgramParts find_parts(const Program& program) {
  const size_t calls = program.calls.size();
  std::vector<size_t> made(program.values.size(), calls), used(program.values.size(), 0);
  for (size_t i = 0; i < calls; ++i) {
    for (const int id : program.calls[i].outputs) made[static_cast<size_t>(id)] = i;
    for (const int id : program.calls[i].inputs)
      if (id >= 0) used[static_cast<size_t>(id)] = i;
  }
  const auto layers = layer_calls(program);
  if (layers.empty()) return {};
  for (const int id : program.outputs) {
    const size_t at = made[static_cast<size_t>(id)];
    if (at == calls || at < layers.back().second) return {};
  }
  ProgramParts parts;
  parts.list.resize(layers.size());
  for (size_t layer = 1; layer < layers.size(); ++layer) {
    int64_t least = -1;
    ProgramPart& part = parts.list[layer];
    for (size_t cut = layers[layer - 1].second + 1; cut <= layers[layer].first; ++cut) {
      std::vector<CarriedValue> carried;
      int64_t bytes = 0;
      if (!carried_over(program, made, used, cut, carried, bytes) || (least >= 0 && bytes >= least)) continue;
      least = bytes;
      part.begin = cut;
      part.in = std::move(carried);
    }
    if (least < 0) return {};
    parts.list[layer - 1].end = part.begin;
    parts.row_bytes = std::max(parts.row_bytes, least);
  }
  parts.list.back().end = calls;
  return parts;
}

}  // namespace vivace
