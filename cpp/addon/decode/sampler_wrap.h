// class Sampler for JavaScript, and the way from such an object to the native sampler.
#pragma once
#include <napi.h>

#include "decode/sample.h"

namespace vivace {

// Sets `exports.Sampler`. Its constructor takes a SamplerOptions of lib/program/executor.ts.
void init_sampler(Napi::Env env, Napi::Object exports);

// The native sampler of a Sampler object; throws INTERNAL for anything else. It lives as long as the object, so a run
// in flight holds a reference to the object; dispose() in the meantime makes sample() report `disposed`.
Sampler* unwrap_sampler(Napi::Value value);

}  // namespace vivace
