// distil: a step of a drafter's training, off the JavaScript thread.
#pragma once
#include <napi.h>

namespace vivace {

void init_distil(Napi::Env env, Napi::Object exports);

}  // namespace vivace
