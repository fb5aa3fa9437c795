// class Tokenizer for JavaScript: text to tokens, over the engines of cpp/text.
#pragma once
#include <napi.h>

namespace vivace {

// Sets `exports.Tokenizer`, `exports.preSplit` and `exports.preSplitRules`.
void init_tokenizer(Napi::Env env, Napi::Object exports);

}  // namespace vivace
