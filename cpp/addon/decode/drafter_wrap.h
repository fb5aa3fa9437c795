// Drafters for JavaScript: class Drafter, and what drafters share, classes SuffixCache and Datastore.
#pragma once
#include <napi.h>

#include <memory>

#include "decode/draft/draft_seat.h"

namespace vivace {

// Sets `exports.Drafter`, `exports.SuffixCache` and `exports.Datastore`.
void init_drafter(Napi::Env env, Napi::Object exports);

// The native drafter of a Drafter object, which a run may keep; throws INTERNAL for anything else, DISPOSED after
// dispose(), OUT_OF_MEMORY when it is broken.
std::shared_ptr<SharedDrafter> unwrap_drafter(Napi::Value value);

}  // namespace vivace
