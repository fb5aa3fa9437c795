// Compresses the prompts of a run, layer by layer (SnapKV, Li et al. 2024): the last rows of a prompt vote for the
// cells before them with their attention, and the cells with most votes move to pages of their own, with the last ones.
//   votes of KV head G for cell j:  S[j] = agg over its query heads h of Σ_i softmax_j(softcap(scale · q[i,h] · k[j]))
//   over the voting rows i; the softmax is over all cells that row i sees. Then pooled over neighbours: the largest, or
//   the sum / kernel (cells before the first and behind the last candidate count as nothing, and as 0). The budget −
//   window cells with the largest results stay, of equal ones those that come first, in ascending order; the last
//   `window` cells stay in any case. Layers with a sliding window keep their last `budget` cells.
//   Sums are float32, in one order for every team and every chunking of the prompt. No score is ever stored but those
//   of a few queries and 64 cells. The cost is twice the voters' own attention scores: 2 · voters · cells · heads ·
//   key_dim · 2 operations, keys are read twice.
// For files compiled per instruction-set level.
#pragma once
#include "ops/attention/parts/attention_chunk.h"

namespace vivace::VIVACE_ISA {

// After a layer's attention, by the whole team; `member`: the caller's own memory.
void compress_prompts(const Call& call, const Member& member, Team& team);

}  // namespace vivace::VIVACE_ISA
