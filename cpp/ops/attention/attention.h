// attention: y[r] = softmax(mask(softcap(scale · q[r]·Kᵀ))) · V for every query head, over the cells that row r sees.
//   q: F32 [rows, heads · key_dim]; y: F32 [rows, heads · value_dim]; K and V: pages of the batch's KV cache, F32, F16,
//   Q8_0 or Q4_0, read as they lie. Query head h uses KV head ⌊h / (heads / kv_heads)⌋, whose keys are read once for
//   all of them. Attributes: layer, heads, value_dim, scale, softcap (0: none; else s → c·tanh(s/c)), window (0: none;
//   else only cells with position > p − window). Which cells a row sees: program/batch.h. A row that sees none gives
//   zeros. Where the cache has a pattern for the layer (caches/cache_policy.h), it stands for `window`: sinks that the
//   window has left make a state of their own, which comes before the first span, its scores those of another distance
//   if the policy says so; of blocks, what is skipped is not read.
//
//   Order of summation, the same for every batch, team and chunking of the prompt: the cells that a row sees lie in
//   slots 0, 1, 2 … (a tree row's ancestors follow its prefix, as if it were a chain, so that verifying a tree gives
//   the bits of plain decoding). Slots are taken in chunks of 64, chunks in spans of 512; each span has its own online
//   softmax (max m, sum l, values o), and spans are merged in ascending order. Nothing unseen is ever read.
//
//   bytes: when memory bound, cells · kv_heads · (key row + value row) per sequence, whatever the number of query
//   heads; operations: 2 · heads · (key_dim + value_dim) per row and cell.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo attention_op;
VIVACE_DECLARE_KERNEL(attention)

inline constexpr int attention_chunk = 64;  // slots
inline constexpr int attention_span = 512;
inline constexpr int queries_per_unit =
    64;  // that share the reading of a KV head's rows; more when its group is larger

// How the scratch memory of a call is divided; offsets and sizes in floats.
struct AttentionScratch {
  int64_t queries;             // most query vectors of one unit of work
  int64_t key_pad, value_pad;  // dims rounded up to a whole number of vectors
  int64_t state;               // of one query: value_pad values, 16 sums of weights, m and padding
  int64_t slots;               // unmerged states of spans
  int64_t runs, members, carry, span_states, total;

  constexpr AttentionScratch(int64_t rows, int64_t heads, int64_t key_dim, int64_t value_dim, int threads) {
    queries = heads > queries_per_unit ? heads : queries_per_unit;
    key_pad = (key_dim + 15) / 16 * 16;
    value_pad = (value_dim + 15) / 16 * 16;
    state = value_pad + 32;
    slots = threads > 1 ? 4 * threads : 0;
    runs = 0;                                     // [rows + 2] triples of int32
    members = (3 * (rows + 2) + 15) / 16 * 16;    // per member, see member_floats()
    carry = members + threads * member_floats();  // two sets of states that pass from one wave of spans to the next
    span_states = carry + (slots > 0 ? 2 * queries * state : 0);
    total = span_states + slots * queries * state;
  }
  constexpr int64_t row_floats() const { return attention_chunk * (key_pad > value_pad ? key_pad : value_pad); }
  // Q8_0 and Q4_0: scales of a chunk's values; weights of four queries for each block of values; codes of 32 keys side
  // by side, their scales, 16 keys as they are stored.
  constexpr int64_t scale_floats() const { return attention_chunk * value_pad / 32; }
  constexpr int64_t weight_floats() const { return 4 * scale_floats(); }
  constexpr int64_t panel_floats() const { return (8 + 1 + 5) * key_pad; }
  // Queries, scores, states of a span, merged states, a chunk's rows as F32, and what Q8_0 and Q4_0 want.
  constexpr int64_t member_floats() const {
    return queries * (key_pad + attention_chunk + 2 * state) + row_floats() + scale_floats() + weight_floats() +
           panel_floats();
  }
};
}  // namespace vivace
