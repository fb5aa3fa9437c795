#include "program/check_cache.h"

#include <cstring>
#include <string>

namespace vivace {
namespace {

double attribute(const CallInfo& call, const char* name) {
  for (int i = 0; i < call.op->attribute_count; ++i)
    if (std::strcmp(call.op->attributes[i], name) == 0) return call.attributes[static_cast<size_t>(i)];
  throw Error("INTERNAL", std::string("program: ") + call.op->name + " has no attribute " + name);
}

}  // namespace

void check_cache(const Program& program, const PagedKvOptions& cache) {
  for (const CallInfo& call : program.calls) {
    const bool writes = std::strcmp(call.op->name, "kv_write") == 0;
    if (!writes && std::strcmp(call.op->name, "attention") != 0) continue;
    const auto columns = [&](size_t input) {
      return static_cast<double>(program.values[static_cast<size_t>(call.inputs[input])].columns);
    };
    const double layer = attribute(call, "layer");
    bool fits = layer >= 0 && layer < cache.layers;
    if (writes) {
      // A cache whose prompts are compressed may have a head of its own for every query head.
      const double heads = columns(0) / cache.key_dim;
      const int repeated = heads >= 1 && cache.policy.snap.budget > 0 ? static_cast<int>(cache.kv_heads / heads) : 1;
      fits = fits && columns(0) * repeated == static_cast<double>(cache.kv_heads) * cache.key_dim &&
             columns(1) * repeated == static_cast<double>(cache.kv_heads) * cache.value_dim;
    } else {
      const double heads = attribute(call, "heads");
      fits = fits && heads >= cache.kv_heads && static_cast<int64_t>(heads) % cache.kv_heads == 0 &&
             columns(0) == heads * cache.key_dim && attribute(call, "value_dim") == cache.value_dim;
      const double window = attribute(call, "window");
      const SnapOptions& snap = cache.policy.snap;
      if (fits && snap.budget > 0 && (heads > snap.group * cache.kv_heads || window > snap.budget))
        throw Error("INVALID_ARGUMENT",
                    "program: a layer's window is wider than what stays of a compressed prompt, or its "
                    "heads are more than the KV cache was made for");
    }
    if (!fits)
      throw Error("SHAPE_MISMATCH", std::string("program: ") + call.op->name + " does not fit the KV cache of " +
                                        std::to_string(cache.layers) + " layers, " + std::to_string(cache.kv_heads) +
                                        " heads, keys of " + std::to_string(cache.key_dim) + " and values of " +
                                        std::to_string(cache.value_dim));
  }
}

}  // namespace vivace
