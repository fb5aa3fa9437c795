// Drafters for JavaScript: class Drafter, and what drafters share, classes SuffixCache and Datastore.
#pragma once
#include <napi.h>

#include "decode/draft/drafter.h"

namespace vivace {

// Sets `exports.Drafter`, `exports.SuffixCache` and `exports.Datastore`.
void init_drafter(Napi::Env env, Napi::Object exports);

// The native drafter of a Drafter object; throws INTERNAL for anything else, DISPOSED after dispose(). It lives until
// then.
Drafter& unwrap_drafter(Napi::Value value);

}  // namespace vivace
