// Exports `convertCheckpoint`.
#pragma once
#include <napi.h>

namespace vivace {
void init_checkpoint(Napi::Env env, Napi::Object exports);
}  // namespace vivace
