// What a judge adds to a walk: which rows it keeps, the child that it likes best, and of a greedy tree the best path
// (cpp/decode/verify/judge.cpp and judged_tree.cpp).
#pragma once
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "cuda/decode/sample.h"
#include "cuda/decode/verify/residual.h"
#include "cuda/decode/verify/verify.h"

namespace vivace::cuda {

// A walk among the lists of all.
struct JudgedWalk {
  const SampleRun& run;
  const VerifyWalk& walk;
  const VerifyNode* nodes;
  const JudgeRow* judged;
  const float* scores;
  int blocks;  // of 64 logits of a row

  // The output that a row is judged by: its own, or its mixture.
  __device__ int reading(int at) const {
    const int32_t mix = nodes[at].mix;
    return mix < 0 ? walk.output + at : run.mixes.readings[run.mixes.rows[mix].begin];
  }
  // Whether the judge keeps the row, `before` being how many before it only the judge kept.
  __device__ bool keeps(int at, int before) const {
    if (walk.longest > 0 && before >= walk.longest) return false;
    return judged[at].guarded == 0 && static_cast<double>(scores[at]) > walk.bound;
  }
  // Whether a greedy row bans a token.
  __device__ bool bans(int index, int32_t token) const {
    if (token < 0 || token >= run.draws[index].vocab) return true;
    return !(run.logits[static_cast<int64_t>(index) * run.stride + token] > -INFINITY);
  }
  // By the block: whether a token has any probability at an output.
  __device__ bool allows(int index, int32_t token) const {
    const DrawRow& row = run.draws[index];
    if ((row.flags & draw_random) == 0) return !bans(index, token);
    if (token < 0 || token >= row.vocab) return false;
    if (row.room >= 0) {
      const int64_t begin = static_cast<int64_t>(row.room) * run.vocab;
      const int place = place_of(run.room.ids + begin, run.room.counts[row.room], token);
      return place >= 0 && run.room.weights[begin + place] > 0;
    }
    const float logit = run.logits[static_cast<int64_t>(index) * run.stride + token];
    return weight_of(logit, peak_of(run, index, blocks), row.scale) > 0;
  }
  // By the block: the child of a row that the judge likes best among those that it keeps and the sampler allows, or -1.
  __device__ int best(int at, int before) const {
    int best = -1;
    for (int child = at + 1; child < walk.rows; ++child) {
      if (nodes[child].parent != at || !keeps(child, before)) continue;
      if (best >= 0 && scores[child] <= scores[best]) continue;
      if (allows(reading(at), nodes[child].token)) best = child;
    }
    return best;
  }

  __device__ bool is_tree() const {
    for (int i = 1; i < walk.rows; ++i)
      if (nodes[i].parent != i - 1) return true;
    return false;
  }
  // By one thread, of greedy rows: of all paths whose tokens the model or the judge keeps, the longest; of equals the
  // one with more tokens that the model says itself, then the one of less doubt, then the one with lower rows. As a row
  // has one path, first downwards which rows can stay, then upwards which child is best.
  __device__ void find_paths(JudgedPath* paths) const {
    for (int at = 0; at < walk.rows; ++at) {
      int32_t own = 0;
      if (at > 0) {
        const int index = reading(nodes[at].parent), before = paths[nodes[at].parent].run;
        const int32_t token = nodes[at].token;
        if (before < 0 || run.choices[index].error != 0)
          own = -1;
        else if (run.choices[index].token != token)
          own = keeps(at, before) && !bans(index, token) ? before + 1 : -1;
      }
      paths[at] = {own, -1, 0, 0, 0};
    }
    for (int at = walk.rows - 1; at > 0; --at) {
      const JudgedPath own = paths[at];
      if (own.run < 0) continue;
      JudgedPath& parent = paths[nodes[at].parent];
      const bool says = run.choices[reading(nodes[at].parent)].token == nodes[at].token;
      const int length = own.length + 1, plain = own.plain + (says ? 1 : 0);
      const double doubt = own.doubt + (scores[at] < 0 ? static_cast<double>(scores[at]) : 0.0);
      const bool worse = length != parent.length ? length < parent.length
                         : plain != parent.plain ? plain < parent.plain
                                                 : doubt < parent.doubt;
      if (!worse) parent = {parent.run, at, length, plain, doubt};
    }
  }
};

}  // namespace vivace::cuda
