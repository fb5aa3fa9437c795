// What attention does with one chunk of slots: scores, weights, values. For files compiled per instruction-set level.
#pragma once
#include "caches/paged_kv.h"
#include "ops/attention/parts/attention_rows.h"
#include "ops/attention/parts/attention_tiles.h"
#include "ops/attention/parts/channel_keys.h"
#include "ops/norm/sums.h"

namespace vivace::VIVACE_ISA {

inline constexpr float infinity = __builtin_huge_valf();

// One call's constants.
struct Call {
  const Batch& batch;
  const PagedKv& kv;
  const Tensor &q, &y;
  const AttentionScratch& parts;
  int layer, heads, kv_heads, group;
  LayerPattern pattern;  // the op's window, where the cache has no pattern of its own
  int64_t key_dim, value_dim;
  float scale, softcap;
};

// Rows [row, end) of one sequence with one KV head: (end − row) · group query vectors.
struct Unit {
  int64_t row, end;
  int head;
};

// One member's memory; `scales`, `weights` and `panel` serve Q8_0 and Q4_0.
struct Member {
  float *queries, *scores, *span, *merged, *rows, *scales, *weights, *panel;

  Member(const AttentionScratch& parts, float* mine) {
    queries = mine;
    scores = queries + parts.queries * parts.key_pad;
    span = scores + parts.queries * attention_chunk;
    merged = span + parts.queries * parts.state;
    rows = merged + parts.queries * parts.state;
    scales = rows + parts.row_floats();
    weights = scales + parts.scale_floats();
    panel = weights + parts.weight_floats();
  }
};

// A state: `value_pad` values, sums of weights by lane, the maximum. Slots are the lanes' own, so that a state need not
// be summed before the end.
inline float* sums_in(const Call& call, float* state) {
  return state + call.parts.value_pad;
}
inline float& max_in(const Call& call, float* state) {
  return state[call.parts.value_pad + 16];
}

inline float exp_of(float x) {
  float values[F32::lanes];
  store(values, exp(set1(x)));
  return values[0];
}

inline void clear(const Call& call, float* state) {
  for (int64_t i = 0; i < call.parts.value_pad + 16; i += F32::lanes) store(state + i, zero());
  max_in(call, state) = -infinity;
}

inline void load_queries(const Call& call, const Unit& unit, const Member& member) {
  const F32 scale = set1(call.scale);
#if defined(VIVACE_WIDE_DOT)
  const DType keys = call.kv.options().key_dtype;
  const bool codes = keys == DType::Q8_0 || keys == DType::Q4_0;
#else
  const bool codes = false;
#endif
  float* queries = member.queries;
  for (int64_t row = unit.row; row < unit.end; ++row)
    for (int h = 0; h < call.group; ++h, queries += call.parts.key_pad) {
      const float* in = call.q.row<const float>(row) + (unit.head * call.group + h) * call.key_dim;
      float* out = codes ? member.rows : queries;
      for (int64_t i = call.key_dim / 16 * 16; i < call.parts.key_pad; i += F32::lanes) store(out + i, zero());
      for_lanes(call.key_dim, [&](int64_t i, int n) { store_some(out + i, load_some(in + i, n) * scale, n); });
#if defined(VIVACE_WIDE_DOT)
      if (codes) QueryCodes::make(out, call.key_dim, keys, queries);
#endif
    }
}

// A maximum is kept while scores do not exceed it by more than this: weights up to e^8 cost no precision, and most
// chunks then rescale nothing.
inline constexpr float slack = 8.0f;

// One chunk of scores becomes weights e^(s − m) of the state's maximum m; where m changes, what the state holds is
// rescaled. Scores outside of [from, to) are unseen.
inline void weigh(const Call& call, float* scores, int from, int to, float* state) {
  if (call.softcap > 0.0f) {
    const F32 cap = set1(call.softcap);
    for_lanes(to - from, [&](int64_t i, int n) {
      store_some(scores + from + i, cap * tanh(load_some(scores + from + i, n) / cap), n);
    });
  }
  for (int k = 0; k < from; ++k) scores[k] = -infinity;
  for (int k = to; k < attention_chunk; ++k) scores[k] = -infinity;
  F32 largest = load(scores);
  for (int k = F32::lanes; k < attention_chunk; k += F32::lanes) largest = max(largest, load(scores + k));
  const float old = max_in(call, state), chunk_max = max_of(largest);
  if (chunk_max > old + slack) {
    if (old > -infinity) {
      const F32 factor = exp(set1(old - chunk_max));
      for (int64_t i = 0; i < call.parts.value_pad + 16; i += F32::lanes) store(state + i, load(state + i) * factor);
    }
    max_in(call, state) = chunk_max;
  }
  const F32 now = set1(max_in(call, state));
  float* sums = sums_in(call, state);
  F32 sum = load(sums);
  for (int k = 0; k < attention_chunk; k += F32::lanes) {
    const F32 weight = exp(load(scores + k) - now);
    store(scores + k, weight);
    sum += weight;
  }
  store(sums, sum);
}

inline float sum_in(const Call& call, const float* state) {
  return sum_over(16, [&](int64_t i, int) { return load(state + call.parts.value_pad + i); });
}

inline void merge(const Call& call, float* into, float* from) {
  if (sum_in(call, from) == 0.0f) return;  // has seen nothing
  const float old = max_in(call, into), other = max_in(call, from), now = old > other ? old : other;
  // e^(−∞) is 0 here: an empty `into` counts for nothing.
  const F32 a = exp(set1(old - now)), b = exp(set1(other - now));
  for (int64_t i = 0; i < call.parts.value_pad + 16; i += F32::lanes)
    store(into + i, fma(b, load(from + i), a * load(into + i)));
  max_in(call, into) = now;
}

// Query vector n of a unit is done.
inline void write(const Call& call, const Unit& unit, int n, float* state) {
  float* out =
      call.y.row<float>(unit.row + n / call.group) + (unit.head * call.group + n % call.group) * call.value_dim;
  const float total = sum_in(call, state);
  const F32 inverse = set1(total == 0.0f ? 0.0f : 1.0f / total);
  for_lanes(call.value_dim, [&](int64_t i, int count) { store_some(out + i, load(state + i) * inverse, count); });
}

// Cells [from, to) of a head, all of the prefix of `row`, that are read after a chunk.
struct Next {
  int64_t row;
  int head, from, to;
};

// Rows of a unit that go through a chunk together, and the slots of the chunk that each of them sees.
struct Together {
  int row, rows;  // of the unit
  const int *from, *to;
  bool by_channel = false;  // keys are read as codes by channel
};

// One chunk for the query vectors of a few rows.
class ChunkOfRows {
 public:
  ChunkOfRows(const Call& call, const Unit& unit, const Together& those, int prefix, int chunk, const Member& member,
              float* states)
      : call_(call), those_(those), member_(member), chunk_(chunk), prefix_(prefix) {
    count_ = those.rows * call.group;
    first_ = those.row * call.group;
    queries_ = member.queries + first_ * call.parts.key_pad;
    states_ = states + first_ * call.parts.state;
    begin_ = those.from[0];
    end_ = those.to[0];
    for (int r = 1; r < those.rows; ++r) {
      if (those.from[r] < begin_) begin_ = those.from[r];
      if (those.to[r] > end_) end_ = those.to[r];
    }
    const int64_t value_bytes = call.kv.value_row_bytes();
    const std::byte **key = keys_, **value = values_;
    const bool exact = call.kv.by_channel() && !those.by_channel;
    const int64_t key_bytes = those.by_channel ? 0  // all of a page's keys are its own
                              : exact          ? call.key_dim * int64_t{sizeof(uint16_t)}
                                               : call.kv.key_row_bytes();
    for_strips(call.batch, call.kv, unit.row + those.row, prefix, begin_, end_, [&](int page, int slot, int count) {
      const int sequence = call.batch.sequences[unit.row];
      const std::byte* k = (exact ? call.kv.exact_keys(sequence, page, call.layer, unit.head)
                                  : call.kv.keys(sequence, page, call.layer, unit.head)) +
                           slot * key_bytes;
      const std::byte* v = call.kv.values(sequence, page, call.layer, unit.head) + slot * value_bytes;
      for (int i = 0; i < count; ++i) *key++ = k + i * key_bytes;
      for (int i = 0; i < count; ++i) *value++ = v + i * value_bytes;
    });
  }

  // Rows of one row of queries, wherever they lie.
  ChunkOfRows(const Call& call, const std::byte* const* keys, const std::byte* const* values, int size,
              const float* queries, const Member& member, float* states)
      : call_(call), whole_(size), those_(alone_), member_(member), chunk_(0), prefix_(0) {
    count_ = call.group;
    first_ = 0;
    queries_ = queries;
    states_ = states;
    begin_ = 0;
    end_ = size;
    for (int i = 0; i < size; ++i) keys_[i] = keys[i], values_[i] = values[i];
  }

  // Rows that are read after these.
  void attend(const std::byte* const* next_keys, const std::byte* const* next_values, int next) {
    for (int i = 0; i < next; ++i) {
      ahead_keys_.add(next_keys[i], call_.kv.key_row_bytes());
      ahead_values_.add(next_values[i], call_.kv.value_row_bytes());
    }
    attend();
  }

  void attend(const Next& next) {
    for (int values = 0; values < 2; ++values)
      for_strips(call_.batch, call_.kv, next.row, next.to, next.from, next.to, [&](int page, int slot, int count) {
        const int sequence = call_.batch.sequences[next.row];
        const std::byte* rows = values ? call_.kv.values(sequence, page, call_.layer, next.head)
                                       : call_.kv.keys(sequence, page, call_.layer, next.head);
        const int64_t bytes = values ? call_.kv.value_row_bytes() : call_.kv.key_row_bytes();
        (values ? ahead_values_ : ahead_keys_).add(rows + slot * bytes, count * bytes);
      });
    attend();
  }

 private:
  void attend() {
    score();
    for (int n = 0; n < count_; ++n) {
      const int r = n / call_.group;
      weigh(call_, scores(n), those_.from[r] - chunk_, those_.to[r] - chunk_, states_ + n * call_.parts.state);
    }
    with_values(call_.kv.options().value_dtype, [&]<class Rows>(Rows rows) {
      if constexpr (Rows::block != 0) value_scales<Rows>();
      if (count_ <= tile_queries * Rows::most_tiles) return add(rows);
      widen_rows<Rows>(values_, end_ - begin_, call_.value_dim, member_.rows, call_.parts.value_pad);
      add(typename Rows::Copied{});
    });
  }

  float* scores(int n) const { return member_.scores + n * attention_chunk; }

  // The slots that all (or any) of a tile's queries see, counted from begin_.
  void tile_range(int n, int queries, bool all, int& low, int& high) const {
    const int one = n / call_.group, last = (n + queries - 1) / call_.group;
    low = those_.from[one], high = those_.to[one];
    for (int r = one + 1; r <= last; ++r) {
      if (all == (those_.from[r] > low)) low = those_.from[r];
      if (all == (those_.to[r] < high)) high = those_.to[r];
    }
    low -= begin_;
    high -= begin_;
  }

  // Scores of whole pages; what lies beyond begin_ and end_ is dropped when they become weights.
  void score_by_channels() {
    constexpr int cells = channel_keys::cells;
    const int64_t dim = call_.key_dim;
    float *scales = member_.rows, *middles = scales + dim, *weighted = middles + dim;
    for (int slot = begin_ / cells * cells; slot < end_; slot += cells) {
      const std::byte* blocks = keys_[slot < begin_ ? 0 : slot - begin_];
      ahead_keys_.fetch((20 * dim + 63) / 64);
      channel_keys::unpack(blocks, dim, scales, middles);
      for_query_tiles(count_, [&]<int queries>(int n, Tile<queries>) {
        int low, high;
        tile_range(n, queries, false, low, high);
        if (low + begin_ >= slot + cells || high + begin_ <= slot) return;
        channel_keys::score<queries>(queries_ + n * call_.parts.key_pad, call_.parts.key_pad, scales, middles, blocks,
                                     dim, weighted, scores(n) + slot - chunk_, attention_chunk);
      });
    }
  }

  void score() {
    if (those_.by_channel) return score_by_channels();
#if defined(VIVACE_WIDE_DOT)
    if (call_.kv.options().key_dtype == DType::Q8_0) return score_by_codes<34>();
    if (call_.kv.options().key_dtype == DType::Q4_0) return score_by_codes<18>();
#endif
    const int64_t key_pad = call_.parts.key_pad, lines = (call_.kv.key_row_bytes() + 63) / 64;
    const auto tiles = [&]<class Rows>(Rows) {
      for_query_tiles(count_, [&]<int queries>(int n, Tile<queries>) {
        int low, high;
        tile_range(n, queries, false, low, high);
        score_tiles<Rows, queries>(queries_ + n * key_pad, key_pad, keys_ + low, high - low, call_.key_dim,
                                   scores(n) + begin_ - chunk_ + low, ahead_keys_, lines);
      });
    };
    with_keys(call_.kv.by_channel() ? DType::F16 : call_.kv.options().key_dtype, [&]<class Rows>(Rows rows) {
#if defined(VIVACE_TRANSPOSE)
      if (count_ > 2 * tile_queries) return score_in_lanes(rows);
#endif
      if (count_ <= tile_queries * Rows::most_tiles) return tiles(rows);
      widen_rows<Rows>(keys_, end_ - begin_, call_.key_dim, member_.rows, key_pad);
      tiles(F32Rows{});
    });
  }

#if defined(VIVACE_TRANSPOSE)
  // Many queries: keys are laid side by side once for all of them. A key that is seen stands for those that are not.
  template <class Rows>
  void score_in_lanes(Rows) {
    using namespace keys_in_lanes;
    const int64_t key_pad = call_.parts.key_pad, lines = (call_.kv.key_row_bytes() + 63) / 64;
    const int first = (begin_ - chunk_) / F32::lanes, end = (end_ - chunk_ + F32::lanes - 1) / F32::lanes;
    for (int group = first / groups * groups; group < (end + groups - 1) / groups * groups; ++group) {
      const std::byte* rows[F32::lanes];
      for (int k = 0; k < F32::lanes; ++k) {
        const int slot = chunk_ + group * F32::lanes + k;
        rows[k] = keys_[slot < begin_ ? 0 : slot < end_ ? slot - begin_ : end_ - 1 - begin_];
      }
      ahead_keys_.fetch(lines * F32::lanes);
      lay<Rows>(rows, call_.key_dim, group, member_.rows);
    }
    for_query_tiles(count_, [&]<int queries>(int n, Tile<queries>) {
      int low, high;
      tile_range(n, queries, false, low, high);
      low += begin_ - chunk_, high += begin_ - chunk_;
      for (int slot = low / cells * cells; slot < high; slot += cells)
        keys_in_lanes::score<queries>(queries_ + n * key_pad, key_pad, member_.rows + slot, key_pad, scores(n) + slot);
    });
  }
#endif

#if defined(VIVACE_WIDE_DOT)
  // Keys of F32::lanes slots, where they lie or, if they do not lie in a row, as copies.
  Rows group_of_keys(int slot, std::byte* copies) const {
    constexpr int lanes = F32::lanes;
    const int64_t bytes = call_.kv.key_row_bytes();
    if (slot >= begin_ && slot + lanes <= end_ && slot + lanes <= prefix_ && call_.kv.options().page_size % lanes == 0)
      return {keys_[slot - begin_], bytes};
    for (int i = 0; i < lanes; ++i) {
      const int place = slot + i < begin_ ? begin_ : slot + i < end_ ? slot + i : end_ - 1;
      std::memcpy(copies + i * bytes, keys_[place - begin_], static_cast<size_t>(bytes));
    }
    return {copies, bytes};
  }

  // A panel of keys at a time for all queries. Panels lie in the chunk at multiples of their size; a key that is seen
  // stands for those that are not.
  template <int block_bytes>
  void score_by_codes() {
    constexpr int cells = KeyCodes::cells, lanes = F32::lanes;
    const int64_t key_pad = call_.parts.key_pad;
    const KeyCodes panel(member_.panel, key_pad);
    for (int slot = (begin_ - chunk_) / cells * cells; slot < end_ - chunk_; slot += cells) {
      for (int group = 0; group < KeyCodes::groups; ++group)
        panel.lay<block_bytes>(group_of_keys(chunk_ + slot + group * lanes, panel.copies()), call_.key_dim, group,
                               ahead_keys_);
      for (int n = 0; n < count_; n += 2) {
        const int queries = n + 2 <= count_ ? 2 : 1, at = chunk_ + slot - begin_;
        int low, high;
        tile_range(n, queries, false, low, high);
        if (low >= at + cells || high <= at) continue;
        if (queries == 2)
          panel.score<2>(queries_ + n * key_pad, key_pad, call_.key_dim, scores(n) + slot);
        else
          panel.score<1>(queries_ + n * key_pad, key_pad, call_.key_dim, scores(n) + slot);
      }
    }
  }
#endif

  // Scales of the values' blocks, [block][attention_chunk].
  template <class Rows>
  void value_scales() const {
    constexpr int lanes = F32::lanes;
    const int seen = end_ - begin_, offset = begin_ - chunk_;
    for (int64_t block = 0; block < call_.value_dim / 32; ++block) {
      uint16_t halves[attention_chunk] = {};
      VIVACE_UNROLL
      for (int k = 0; k < seen; ++k) std::memcpy(halves + offset + k, values_[k] + block * Rows::block_bytes, 2);
      for (int k = 0; k < attention_chunk; k += lanes)
        store(member_.scales + block * attention_chunk + k, load_f16(halves + k));
    }
  }

  // What a tile's values are multiplied with.
  template <class Rows>
  const float* weights(int n, int queries) const {
    if constexpr (Rows::block == 0) return scores(n);
    float* out = member_.weights;
    const float* scales = member_.scales;
    for (int64_t block = 0; block < call_.value_dim / 32; ++block, scales += attention_chunk)
      for (int i = 0; i < tile_queries; ++i, out += attention_chunk)
        for (int k = 0; k < attention_chunk && i < queries; k += F32::lanes)
          store(out + k, load(scales + k) * load(scores(n + i) + k));
    return member_.weights;
  }

  template <class Rows>
  void add(Rows) {
    const int64_t row_bytes = call_.kv.value_row_bytes(), state = call_.parts.state;
    const int offset = begin_ - chunk_;
    for_query_tiles(count_, [&]<int queries>(int n, Tile<queries>) {
      // What all queries of the tile see they read together; before and after it everyone reads alone.
      int low, high;
      tile_range(n, queries, true, low, high);
      if (low > high) low = high;
      const float* of_tile = weights<Rows>(n, queries);
      const auto add_values = [&]<int size>(Tile<size>, int i, int from, int to) {
        if (from >= to) return;
        value_tiles<Rows, size>(of_tile + i * attention_chunk + offset + from, values_ + from, to - from,
                                call_.value_dim, states_ + (n + i) * state, state, ahead_values_, row_bytes);
      };
      const auto alone = [&](bool before) {
        for (int i = 0; i < queries; ++i) {
          const int from = those_.from[(n + i) / call_.group] - begin_, to = those_.to[(n + i) / call_.group] - begin_;
          add_values(Tile<1>{}, i, before || from > high ? from : high, before ? low : to);
        }
      };
      if constexpr (queries > 1) alone(true);
      add_values(Tile<queries>{}, 0, low, high);
      if constexpr (queries > 1) alone(false);
    });
  }

  const Call& call_;
  const int nothing_ = 0, whole_ = 0;
  const Together alone_ = {0, 1, &nothing_, &whole_};
  const Together& those_;
  const Member& member_;
  const int chunk_, prefix_;
  int count_, first_, begin_, end_;
  const float* queries_;
  float* states_;
  const std::byte *keys_[attention_chunk], *values_[attention_chunk];
  Ahead ahead_keys_, ahead_values_;
};

}  // namespace vivace::VIVACE_ISA
