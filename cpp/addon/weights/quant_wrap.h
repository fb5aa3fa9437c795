// Exports `quantize` and `dequantize`.
#pragma once
#include <napi.h>

namespace vivace {
void init_quant(Napi::Env env, Napi::Object exports);
}  // namespace vivace
