// Logits of a row that was read twice: (1 − alpha) · first + alpha · second, which is the normalised product of powers
// of the two laws. The plain counterpart is lib/decode/speculation/reflective/fuse.ts.
#pragma once
#include <cstdint>
#include <vector>

#include "decode/verify/verify.h"

namespace vivace {

// Whether a second reading of this row counts.
bool is_read_twice(const Walk& walk, int32_t row);

// `logits`: the walk's outputs, [outputs, vocab]; several second readings of a row count by their mean. A reading of
// weight 0 is not looked at, so that its infinities do not matter; one that bans a token bans it for the mixture.
// Writes [vocab] values; gives whether the greatest is another token's than at first.
bool fuse(const Walk& walk, int32_t row, const float* logits, int64_t vocab, std::vector<float>& out);

}  // namespace vivace
