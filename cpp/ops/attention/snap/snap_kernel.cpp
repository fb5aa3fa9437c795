// Body of prompt compression, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/attention/snap/snap.h"

#include "ops/attention/snap/select.h"

namespace vivace::VIVACE_ISA {
namespace {

// One sequence's prompt in one layer.
struct Prompt {
  const Call& call;
  const Compaction& own;
  int sequence;

  float* sums(int head, int span, int query) const {
    return own.sums + ((static_cast<int64_t>(head) * own.spans + span) * own.queries + query) * 2;
  }
  float* votes(int head) const { return own.votes + static_cast<int64_t>(head) * own.prefix; }
  float* pooled(int head) const { return own.pooled + static_cast<int64_t>(head) * own.prefix; }
  int32_t* chosen(int head) const { return own.chosen + static_cast<int64_t>(head) * own.kept; }
  int rows_per_block() const { return call.group < queries_per_unit ? queries_per_unit / call.group : 1; }
};

// Voters [first, end) of a prompt with one KV head: (end − first) · group query vectors.
struct Block {
  int first, end, head;
};

void load_voters(const Prompt& prompt, const Block& block, const Member& member) {
  const Call& call = prompt.call;
  const F32 scale = set1(call.scale);
  float* out = member.queries;
  for (int voter = block.first; voter < block.end; ++voter)
    for (int h = 0; h < call.group; ++h, out += call.parts.key_pad) {
      const float* in = call.q.row<const float>(prompt.own.rows[voter]) + (block.head * call.group + h) * call.key_dim;
      for (int64_t i = call.key_dim / 16 * 16; i < call.parts.key_pad; i += F32::lanes) store(out + i, zero());
      for_lanes(call.key_dim, [&](int64_t i, int n) { store_some(out + i, load_some(in + i, n) * scale, n); });
    }
}

// Calls body(n, scores) for each query vector n of a block and the cells [chunk, chunk + count), count ≤ 64; scores
// beyond `count` are −∞.
template <class Body>
void score_cells(const Prompt& prompt, const Block& block, int chunk, int count, const Member& member, Body&& body) {
  const Call& call = prompt.call;
  const int page_size = call.kv.options().page_size;
  const std::byte* keys[attention_chunk];
  for (int k = 0; k < count; ++k) {
    const int page = (chunk + k) / page_size, slot = (chunk + k) % page_size;
    keys[k] = call.kv.keys(prompt.sequence, page, call.layer, block.head) + slot * call.kv.key_row_bytes();
  }
  with_keys(call.kv.options().key_dtype,
            [&]<class Rows>(Rows) { widen_rows<Rows>(keys, count, call.key_dim, member.rows, call.parts.key_pad); });
  Ahead nothing;
  float* scores = member.span;  // [tile_queries][attention_chunk]
  for_query_tiles((block.end - block.first) * call.group, [&]<int queries>(int n, Tile<queries>) {
    score_tiles<F32Rows, queries>(member.queries + n * call.parts.key_pad, call.parts.key_pad, keys, count,
                                  call.key_dim, scores, nothing, 0);
    for (int i = 0; i < queries; ++i) {
      float* own = scores + i * attention_chunk;
      if (call.softcap > 0.0f) {
        const F32 cap = set1(call.softcap);
        for_lanes(count,
                  [&](int64_t k, int some) { store_some(own + k, cap * tanh(load_some(own + k, some) / cap), some); });
      }
      for (int k = count; k < attention_chunk; ++k) own[k] = -infinity;
      body(n + i, own);
    }
  });
}

// The softmax sums of every voter over one span of cells.
void sum_span(const Prompt& prompt, int head, int span, const Member& member) {
  const Call& call = prompt.call;
  const int step = prompt.rows_per_block(), begin = span * compaction_span;
  const int end = begin + compaction_span < prompt.own.cells ? begin + compaction_span : prompt.own.cells;
  for (int first = 0; first < prompt.own.voters; first += step) {
    const Block block = {first, first + step < prompt.own.voters ? first + step : prompt.own.voters, head};
    float* state = prompt.sums(head, span, first * call.group);
    for (int n = 0; n < (block.end - first) * call.group; ++n) state[2 * n] = -infinity, state[2 * n + 1] = 0.0f;
    load_voters(prompt, block, member);
    for (int chunk = begin; chunk < end; chunk += attention_chunk) {
      const int count = end - chunk < attention_chunk ? end - chunk : attention_chunk;
      score_cells(prompt, block, chunk, count, member, [&](int n, float* scores) {
        const int seen = call.batch.visible[prompt.own.rows[first + n / call.group]] - chunk;
        for (int k = seen < 0 ? 0 : seen; k < count; ++k) scores[k] = -infinity;
        F32 largest = load(scores);
        for (int k = F32::lanes; k < attention_chunk; k += F32::lanes) largest = max(largest, load(scores + k));
        float& top = state[2 * n];
        const float chunk_top = max_of(largest), now = chunk_top > top ? chunk_top : top;
        if (now == -infinity) return;
        F32 sum_of_chunk = zero();
        for (int k = 0; k < attention_chunk; k += F32::lanes) sum_of_chunk += exp(load(scores + k) - set1(now));
        state[2 * n + 1] = state[2 * n + 1] * exp_of(top - now) + sum(sum_of_chunk);
        top = now;
      });
    }
  }
}

// A voter's whole row: what its scores are to be reduced by, and 1 / sum, in the place of its first span.
void merge_spans(const Prompt& prompt, int head, int query) {
  float top = -infinity, total = 0.0f;
  for (int span = 0; span < prompt.own.spans; ++span) {
    const float* state = prompt.sums(head, span, query);
    if (state[0] > top) top = state[0];
  }
  for (int span = 0; span < prompt.own.spans; ++span) {
    const float* state = prompt.sums(head, span, query);
    if (state[1] > 0.0f) total += state[1] * exp_of(state[0] - top);
  }
  float* whole = prompt.sums(head, 0, query);
  whole[0] = top;
  whole[1] = 1.0f / total;
}

// Votes for one span of candidates.
void count_votes(const Prompt& prompt, int head, int span, const Member& member) {
  const Call& call = prompt.call;
  const SnapOptions& options = call.kv.options().policy.snap;
  const int step = prompt.rows_per_block(), begin = span * compaction_span;
  const int end = begin + compaction_span < prompt.own.prefix ? begin + compaction_span : prompt.own.prefix;
  float* votes = member.scores;  // [group][attention_chunk]
  for (int chunk = begin; chunk < end; chunk += attention_chunk) {
    const int count = end - chunk < attention_chunk ? end - chunk : attention_chunk;
    for (int i = 0; i < call.group * attention_chunk; i += F32::lanes) store(votes + i, zero());
    for (int first = 0; first < prompt.own.voters; first += step) {
      const Block block = {first, first + step < prompt.own.voters ? first + step : prompt.own.voters, head};
      load_voters(prompt, block, member);
      const float* state = prompt.sums(head, 0, first * call.group);
      score_cells(prompt, block, chunk, count, member, [&](int n, const float* scores) {
        const F32 top = set1(state[2 * n]), inverse = set1(state[2 * n + 1]);
        float* own = votes + n % call.group * attention_chunk;
        for (int k = 0; k < attention_chunk; k += F32::lanes)
          store(own + k, fma(exp(load(scores + k) - top), inverse, load(own + k)));
      });
    }
    for (int h = 1; h < call.group; ++h)
      for (int k = 0; k < attention_chunk; k += F32::lanes) {
        const F32 other = load(votes + h * attention_chunk + k), so_far = load(votes + k);
        store(votes + k, options.aggregation == SnapAggregation::max ? max(so_far, other) : so_far + other);
      }
    const float group = static_cast<float>(call.group);
    for (int k = 0; k < count; ++k)
      prompt.votes(head)[chunk + k] = options.aggregation == SnapAggregation::mean ? votes[k] / group : votes[k];
  }
}

void choose(const Prompt& prompt, int head) {
  const SnapOptions& options = prompt.call.kv.options().policy.snap;
  const Compaction& own = prompt.own;
  int32_t* chosen = prompt.chosen(head);
  const int window = own.cells - own.prefix, most = own.kept - window;
  pool_votes(prompt.votes(head), own.prefix, options.kernel, options.pooling, prompt.pooled(head));
  for (int j = 0; j < options.keep_first && j < own.prefix; ++j) prompt.pooled(head)[j] = infinity;
  select_largest(prompt.pooled(head), own.prefix, most, chosen);
  for (int k = 0; k < window; ++k) chosen[most + k] = own.prefix + k;
}

// Kept cells [begin, end) of a head move to their new pages.
void move_cells(const Prompt& prompt, int head, int begin, int end) {
  const Call& call = prompt.call;
  const int page_size = call.kv.options().page_size;
  const int64_t key_bytes = call.kv.key_row_bytes(), value_bytes = call.kv.value_row_bytes();
  const int64_t keys = call.kv.keys_at(call.layer, head), values = call.kv.values_at(call.layer, head);
  const int32_t* chosen = prompt.chosen(head);
  const int group = call.kv.group_of(call.layer, head);
  const int32_t* pages = prompt.own.pages + group * prompt.own.kept_pages;
  for (int to = begin; to < end; ++to) {
    const int page = chosen[to] / page_size, slot = chosen[to] % page_size;
    std::byte* target = call.kv.base_of(pages[to / page_size]);
    const std::byte* source = call.kv.page_base(prompt.sequence, page, group);
    const int at = to % page_size;
    std::memcpy(target + keys + at * key_bytes, source + keys + slot * key_bytes, static_cast<size_t>(key_bytes));
    std::memcpy(target + values + at * value_bytes, source + values + slot * value_bytes,
                static_cast<size_t>(value_bytes));
  }
}

void compress(const Prompt& prompt, const Member& member, Team& team) {
  constexpr int moved = 64;  // cells
  const Call& call = prompt.call;
  const Compaction& own = prompt.own;
  const int heads = call.kv_heads;
  if (call.pattern.window > 0) {
    // Who sees no more than these cells needs no votes.
    for (int head = team.thread(); head < heads; head += team.threads())
      for (int k = 0; k < own.kept; ++k) prompt.chosen(head)[k] = own.cells - own.kept + k;
    team.barrier();
  } else {
    const int spans = (own.prefix + compaction_span - 1) / compaction_span;
    team.share(static_cast<int64_t>(heads) * own.spans, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item)
        sum_span(prompt, static_cast<int>(item / own.spans), static_cast<int>(item % own.spans), member);
    });
    team.barrier();
    for (int item = team.thread(); item < heads * own.queries; item += team.threads())
      merge_spans(prompt, item / own.queries, item % own.queries);
    team.barrier();
    team.share(static_cast<int64_t>(heads) * spans, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item)
        count_votes(prompt, static_cast<int>(item / spans), static_cast<int>(item % spans), member);
    });
    team.barrier();
    for (int head = team.thread(); head < heads; head += team.threads()) choose(prompt, head);
    team.barrier();
  }
  const int pieces = (own.kept + moved - 1) / moved;
  for (int item = team.thread(); item < heads * pieces; item += team.threads()) {
    const int begin = item % pieces * moved, end = begin + moved < own.kept ? begin + moved : own.kept;
    move_cells(prompt, item / pieces, begin, end);
  }
  team.barrier();
}

}  // namespace

void compress_prompts(const Call& call, const Member& member, Team& team) {
  team.barrier();  // members' memory was attention's
  for (int64_t i = 0; i < call.batch.compressed; ++i) {
    const int sequence = call.batch.compressed_sequences[i];
    compress({call, *call.kv.compaction(sequence), sequence}, member, team);
  }
}

}  // namespace vivace::VIVACE_ISA
