// What a judge says of a draft, for verify(). The plain counterpart is lib/decode/speculation/judge/rule.ts.
#pragma once
#include <cstdint>

#include "decode/verify/verify.h"

namespace vivace {

// weights · hidden + bias of a drafted row, summed in float32 by a fixed order; NaN where a hidden value is none.
float judge_score(const Walk& walk, int32_t row);

// Whether the judge keeps the row, `run` being how many before it only the judge kept.
bool is_judged(const Walk& walk, int32_t row, int32_t run);

// The child of a row that the judge likes best among those it keeps and the sampler allows after this row's logits, or
// -1.
int32_t best_judged(const Walk& walk, int32_t row, int32_t run, float* logits, int64_t vocab);

}  // namespace vivace
