// Rows that attend to few of the cells that they see: labels promise scores, the largest are chosen, and attention over
// these is exact (Double Sparsity, Yang et al. 2024). For files compiled per instruction-set level.
//
// What is chosen follows from the row alone. Chosen slots ascend; they are taken in chunks and spans as if they were
// all that the row sees, so a row that chooses all has the bits of one that does not choose.
#pragma once
#include "ops/attention/parts/attention_chunk.h"
#include "ops/attention/sparse/choice.h"
#include "ops/attention/sparse/label_scores.h"
#include "ops/attention/sparse/top_slots.h"

namespace vivace::VIVACE_ISA {

class SparseRows {
 public:
  SparseRows(const Call& call, std::byte* scratch, Team& team)
      : call_(call), labels_(call.kv.options().policy.labels), layout_(call.kv.label_layout()), team_(team) {
    const ChoiceScratch parts(most_slots(call.batch), 64 * call.batch.tree_words, call.group);
    std::byte* mine = scratch + 4 * parts.total * team.thread();
    const auto at = [&](int64_t offset) { return mine + 4 * offset; };
    slots_ = parts.slots;
    scores_ = reinterpret_cast<float*>(at(parts.scores));
    tree_ = reinterpret_cast<int32_t*>(at(parts.tree));
    chosen_ = reinterpret_cast<int32_t*>(at(parts.chosen));
    work_ = reinterpret_cast<int32_t*>(at(parts.work));
    keys_ = reinterpret_cast<uint32_t*>(at(parts.keys));
    queries_ = reinterpret_cast<LabelQuery*>(at(parts.queries));
  }

  // Whether this row chooses.
  static bool chooses(const Call& call, int64_t row) {
    const LabelOptions& labels = call.kv.options().policy.labels;
    if (labels.channels == 0 || labels.sparse[static_cast<size_t>(call.layer)] == 0 || !is_output(call.batch, row))
      return false;
    const Visible seen = visible_slots(call.batch, row, call.pattern.window);
    return chosen_cells(labels, seen.end - seen.begin) < seen.end - seen.begin;
  }

  void attend(const Member& member) {
    const int64_t rows = call_.batch.rows;
    // Items are counted for rows that choose only.
    int64_t units = 0;
    for (int64_t row = 0; row < rows; ++row) units += chooses(call_, row) ? call_.kv_heads : 0;
    team_.share(units, 1, [&](int64_t begin, int64_t end) {
      int64_t row = -1, before = 0;
      for (int64_t unit = begin; unit < end; ++unit) {
        while (row < 0 || unit >= before) before += chooses(call_, ++row) ? call_.kv_heads : 0;
        attend({row, row + 1, static_cast<int>(unit - (before - call_.kv_heads))}, member);
      }
    });
  }

 private:
  void attend(const Unit& unit, const Member& member) {
    const Visible seen = visible_slots(call_.batch, unit.row, call_.pattern.window);
    int trees = 0;
    for_tree_cells(call_.batch, unit.row, [&](int cell) { return tree_[trees++] = cell, true; });
    score(unit, seen);
    load_queries(call_, unit, member);
    const int first = seen.begin / F32::lanes * F32::lanes;
    const int wanted = chosen_cells(labels_, seen.end - seen.begin);
    const int lists = labels_.grouped ? 1 : call_.group, queries = call_.group / lists;
    if (labels_.grouped) join(seen);
    for (int list = 0; list < lists; ++list) {
      float* scores = scores_ + (labels_.grouped ? call_.group : list) * slots_;
      force(scores, seen);
      top_positions(scores, seen.end - first, wanted, chosen_, work_, keys_);
      for (int i = 0; i < wanted; ++i) chosen_[i] += first;
      attend_chosen(unit, seen, wanted, list * queries, queries, member);
    }
  }

  // Scores of the row's query heads; unseen slots have the least.
  void score(const Unit& unit, const Visible& seen) {
    const int per_head = labels_.sets / call_.kv_heads, queries = call_.group / per_head;
    for (int i = 0; i < per_head; ++i) {
      const int set = unit.head * per_head + i;
      const int32_t* channels =
          labels_.table.data() + (static_cast<int64_t>(call_.layer) * labels_.sets + set) * labels_.channels;
      const LabelScan scan = {call_.kv, layout_, call_.batch.sequences[unit.row], call_.layer, set, seen, tree_};
      for (int n = 0; n < queries; ++n) {
        const int64_t head = static_cast<int64_t>(unit.head) * call_.group + i * queries + n;
        queries_[n].make(call_.q.row<const float>(unit.row) + head * call_.key_dim, channels, labels_.channels,
                         labels_.bits < 16);
        scales_at(i * queries + n) = queries_[n].scale;
      }
      float* out = scores_ + static_cast<int64_t>(i) * queries * slots_;
      int n = 0;
      for (; n + 4 <= queries; n += 4) score_slots<4>(scan, queries_ + n, out + n * slots_, slots_);
      for (; n + 2 <= queries; n += 2) score_slots<2>(scan, queries_ + n, out + n * slots_, slots_);
      for (; n < queries; ++n) score_slots<1>(scan, queries_ + n, out + n * slots_, slots_);
    }
    const int first = seen.begin / F32::lanes * F32::lanes;
    for (int n = 0; n < call_.group; ++n)
      for (int i = 0; i < seen.begin - first; ++i) scores_[n * slots_ + i] = -infinity;
  }

  // A slot counts by the query head to which it matters most: how far its score is below the largest of that head.
  void join(const Visible& seen) {
    const int first = seen.begin / F32::lanes * F32::lanes, count = seen.end - first;
    float* joined = scores_ + call_.group * slots_;
    for (int n = 0; n < call_.group; ++n) {
      float* scores = scores_ + n * slots_;
      for (int i = count; i % F32::lanes != 0; ++i) scores[i] = -infinity;
      F32 largest = load(scores);
      for (int i = F32::lanes; i < count; i += F32::lanes) largest = max(largest, load(scores + i));
      const F32 top = set1(max_of(largest)), scale = set1(scales_at(n));
      for (int i = 0; i < count; i += F32::lanes) {
        const F32 below = (load(scores + i) - top) * scale;
        store(joined + i, n == 0 ? below : max(load(joined + i), below));
      }
    }
  }

  // The row's own cell, the last ones before it and the first ones come before all others.
  void force(float* scores, const Visible& seen) const {
    const int first = seen.begin / F32::lanes * F32::lanes, recent = 1 + labels_.recent;
    const auto take = [&](int begin, int end) {
      for (int slot = begin; slot < end; ++slot) scores[slot - first] = infinity;
    };
    take(seen.end - recent > seen.begin ? seen.end - recent : seen.begin, seen.end);
    take(seen.begin, labels_.sinks < seen.end ? labels_.sinks : seen.end);
  }

  // Exact attention of some query heads of a row over the chosen slots.
  void attend_chosen(const Unit& unit, const Visible& seen, int count, int first_query, int queries,
                     const Member& member) const {
    Call call = call_;
    call.group = queries;
    const float* query = member.queries + first_query * call.parts.key_pad;
    for (int n = 0; n < queries; ++n) clear(call, member.merged + n * call.parts.state);
    const std::byte *keys[2][attention_chunk], *values[2][attention_chunk];
    int turn = 0;
    find(unit, seen, chosen_, count < attention_chunk ? count : attention_chunk, keys[0], values[0]);
    for (int span = 0; span < count; span += attention_span) {
      for (int n = 0; n < queries; ++n) clear(call, member.span + n * call.parts.state);
      const int end = span + attention_span < count ? span + attention_span : count;
      for (int chunk = span; chunk < end; chunk += attention_chunk, turn ^= 1) {
        const int size = end - chunk < attention_chunk ? end - chunk : attention_chunk;
        ChunkOfRows some(call, keys[turn], values[turn], size, query, member, member.span);
        const int left = count - chunk - size, next = left < attention_chunk ? left : attention_chunk;
        find(unit, seen, chosen_ + chunk + size, next, keys[turn ^ 1], values[turn ^ 1]);
        some.attend(keys[turn ^ 1], values[turn ^ 1], next);
      }
      for (int n = 0; n < queries; ++n)
        merge(call, member.merged + n * call.parts.state, member.span + n * call.parts.state);
    }
    for (int n = 0; n < queries; ++n) write(call_, unit, first_query + n, member.merged + n * call.parts.state);
  }

  // Where the rows of slots lie.
  void find(const Unit& unit, const Visible& seen, const int32_t* slots, int count, const std::byte** keys,
            const std::byte** values) const {
    const int size = layout_.page_size, sequence = call_.batch.sequences[unit.row];
    const int64_t key_bytes = call_.kv.key_row_bytes(), value_bytes = call_.kv.value_row_bytes();
    int first = -size;
    const std::byte *page_keys = nullptr, *page_values = nullptr;
    for (int i = 0; i < count; ++i) {
      const int cell = slots[i] < seen.prefix ? slots[i] : tree_[slots[i] - seen.prefix];
      if (cell < first || cell >= first + size) {
        const int page = cell / size;
        first = page * size;
        page_keys = call_.kv.keys(sequence, page, call_.layer, unit.head);
        page_values = call_.kv.values(sequence, page, call_.layer, unit.head);
      }
      keys[i] = page_keys + (cell - first) * key_bytes;
      values[i] = page_values + (cell - first) * value_bytes;
    }
  }

  float& scales_at(int n) { return scales_[n]; }

  const Call& call_;
  const LabelOptions& labels_;
  const LabelLayout& layout_;
  Team& team_;
  int64_t slots_;
  float* scores_;
  int32_t *tree_, *chosen_, *work_;
  uint32_t* keys_;
  LabelQuery* queries_;
  float scales_[1024];
};

}  // namespace vivace::VIVACE_ISA
