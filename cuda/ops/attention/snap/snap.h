// The kernels that compress prompts (SnapKV; cpp/ops/attention/snap/snap.h has the definition): the last rows of a
// prompt vote for the cells before them, and the cells with most votes move to pages of their own.
#pragma once
#include "cuda/ops/attention/sparse/choice.h"

namespace vivace::cuda {

inline constexpr int snap_span = 512;  // cells whose softmax sums are one entry: compaction_span of caches/compaction.h
inline constexpr int snap_threads = 128;

struct SnapCall {
  const float* q;  // [rows, heads, key_dim]
  float* states;   // DeviceRun::states
  DeviceBatch batch;
  DeviceKv kv;
  int layer, heads, group;
  float scale, softcap;
  int window;
};

// One prompt in one KV head.
struct PromptHead {
  const SnapCall& call;
  const CompressedPrompt& own;
  int head;

  __device__ PromptHead(const SnapCall& snap, int prompt, int kv_head)
      : call(snap),
        own(reinterpret_cast<const CompressedPrompt*>(policy_bytes(snap.batch) +
                                                      snap.batch.sizes->policy.prompts_at)[prompt]),
        head(kv_head) {}
  __device__ float* floats(int64_t place) const { return policy_memory(call.batch, call.states) + place; }
  __device__ int queries() const { return own.voters * call.group; }  // vectors that vote
  // Query vector j is row j / group of those that vote, query head j % group of the KV head.
  __device__ int64_t row_of(int query) const {
    return reinterpret_cast<const int32_t*>(policy_bytes(call.batch) + own.rows)[query / call.group];
  }
  __device__ const float* query(int query) const {
    return call.q + (row_of(query) * call.heads + head * call.group + query % call.group) * call.kv.key_dim;
  }
  // Largest score and sum of e^(score − largest) of a vector over a span; then, in span 0, of all, and 1 / sum.
  __device__ float* sums(int span, int query) const {
    return floats(own.sums) + ((int64_t{head} * own.spans + span) * queries() + query) * 2;
  }
  __device__ float* votes() const { return floats(own.votes) + int64_t{head} * own.prefix; }
  __device__ float* pooled() const { return floats(own.pooled) + int64_t{head} * own.prefix; }
  __device__ int32_t* chosen() const {
    return reinterpret_cast<int32_t*>(floats(own.chosen)) + int64_t{head} * own.kept;
  }
};

// After a layer's attention.
void compress_prompts(const DeviceRun& run);
void count_votes(const DeviceRun& run, const SnapCall& call);
void move_kept(const DeviceRun& run, const SnapCall& call);

}  // namespace vivace::cuda
