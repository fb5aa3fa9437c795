// route: which experts a row goes to, and how much each of them counts.
//   score = softmax or sigmoid of the row's logits. Chosen are the `used` best by score + bias (DeepSeek-V3's
//   correction bias, which counts for the choice alone), the best first. Of equal ones the lower id is taken, and a NaN
//   is worse than every number. weights = the chosen scores, over their sum + 1e-20 if `normalise`, times `scale`.
//   Where neither a bias nor a sum of scores is asked for, logits are compared: scores can be equal by rounding.
//   groups: if more than 1, experts come in groups of equal size, and only those of the best `groups_used` can be
//   chosen. A group is worth its best expert (max, DeepSeek-V2) or the sum of its best two (top2, DeepSeek-V3).
//   logits: F32 [rows, experts], at most 1024; bias: F32 [1, experts], optional; ids: I32 [rows, used], whatever the
//   logits are within [0, experts) and different from each other; weights: F32 [rows, used].
//   Attributes: used, scoring (0 softmax, 1 sigmoid), normalise, scale, groups, groups_used, group_score (0: max).
//   bytes: 4 read per logit, 8 written per choice; operations: about 12 per logit, and 2 per logit and choice.
#pragma once
#include "program/op.h"

namespace vivace {

inline constexpr int64_t most_experts = 1024;

extern const OpInfo route_op;
VIVACE_DECLARE_KERNEL(route)

}  // namespace vivace
