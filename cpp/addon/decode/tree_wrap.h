// Trees that a run drafts, as JavaScript describes them (NativeTree of lib/native.ts).
#pragma once
#include <napi.h>

#include "addon/round.h"

namespace vivace {

// { depth, nodes, topK, width, least, parents?, scores? }; throws INTERNAL.
TreeShape read_shape(const Napi::Object& given);

// How many cells the largest tree of a request's `sampling` may take behind its root; 0 when there is none.
int64_t cells_of_trees(const Napi::Value& sampling);

// Puts the trees into the round, whose samplers and batch are there. Throws INTERNAL.
void read_trees(const Napi::Array& list, Round& round);

// Sets `exports.growTree`.
void init_trees(Napi::Env env, Napi::Object exports);

// Writes the drafts to the caller's arrays.
void report_trees(const Napi::Object& sampling, const std::vector<std::unique_ptr<GrowingTree>>& trees);

}  // namespace vivace
