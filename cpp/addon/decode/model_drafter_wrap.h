// Drafters that run a program, for JavaScript: how one is described, and drafts that are made off its thread.
#pragma once
#include <napi.h>

#include <memory>

#include "decode/draft/draft_seat.h"
#include "program/rounds/grow_trees.h"

namespace vivace {

// { executable, kv, sequence, logits, sampler, proposal?, least, context, tree?, shapes?, features?, feedback?,
// fed?, levels?, studies? }; throws DISPOSED, INTERNAL. The caller keeps the object alive as long as the drafter is.
std::unique_ptr<Drafter> make_model_drafter(const Napi::Object& given);

// [input, output] of the program that runs rows which are fed; throws INTERNAL.
FeatureLink read_feedback(const Napi::Array& given, const Program& program);

// Promise<{ tokens, parents, scores }> of a draft of at most that size, draft number `cycle`. Nobody uses the drafter
// meanwhile, and `owner` keeps what it needs. Throws OUT_OF_MEMORY.
Napi::Value draft_later(const Napi::Object& owner, std::shared_ptr<SharedDrafter> drafter, DraftSize most,
                        uint64_t cycle);

}  // namespace vivace
