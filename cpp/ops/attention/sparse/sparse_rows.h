// Rows that attend to few of the cells that they see: labels promise scores, the largest are chosen, and attention over
// these is exact (Double Sparsity, Yang et al. 2024). For files compiled per instruction-set level.
//
// What is chosen follows from the row alone. Chosen slots ascend; they are taken in chunks and spans as if they were
// all that the row sees, so a row that chooses all has the bits of one that does not choose.
//
// Of layers that are offloaded, the chosen rows are held in memory some at a time.
#pragma once
#include "offload/row_places.h"
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
    for_units([&](const Unit& unit) {
      load_queries(call_, unit, member);
      const int lists = labels_.grouped ? 1 : call_.group, queries = call_.group / lists;
      choose(unit, [&](const Visible& seen, int list, int wanted) {
        attend_chosen(unit, seen, wanted, list * queries, queries, member);
      });
    });
  }

  // The call's queries are guesses, of rows whose keys in the layer may not be there yet: what they choose is fetched.
  void fetch_ahead() {
    OffloadedLayers* const offloaded = call_.kv.offloaded();
    const int layer = call_.kv.offloaded_layer(call_.layer), size = layout_.page_size;
    for_units([&](const Unit& unit) {
      const int sequence = call_.batch.sequences[unit.row], first = call_.batch.first_cells[unit.row];
      choose(unit, [&](const Visible&, int, int wanted) {
        RowPlace places[most_rows_held];
        int count = 0;
        for (int i = 0; i < wanted && chosen_[i] < first; ++i) {
          places[count++] = {call_.kv.page_number(sequence, chosen_[i] / size), chosen_[i] % size};
          if (count < most_rows_held && i + 1 < wanted && chosen_[i + 1] < first) continue;
          fetch_rows_ahead(*offloaded, layer, unit.head, places, count);
          count = 0;
        }
      });
    });
  }

 private:
  // Units of rows that choose, shared by the team.
  template <class Body>
  void for_units(Body&& body) {
    const int64_t rows = call_.batch.rows;
    // Items are counted for rows that choose only.
    int64_t units = 0;
    for (int64_t row = 0; row < rows; ++row) units += chooses(call_, row) ? call_.kv_heads : 0;
    team_.share(units, 1, [&](int64_t begin, int64_t end) {
      int64_t row = -1, before = 0;
      for (int64_t unit = begin; unit < end; ++unit) {
        while (row < 0 || unit >= before) before += chooses(call_, ++row) ? call_.kv_heads : 0;
        body(Unit{row, row + 1, static_cast<int>(unit - (before - call_.kv_heads))});
      }
    });
  }

  // Calls body(seen, list, wanted) for each choice of a unit, which is in chosen_.
  template <class Body>
  void choose(const Unit& unit, Body&& body) {
    const Visible seen = visible_slots(call_.batch, unit.row, call_.pattern.window);
    int trees = 0;
    for_tree_cells(call_.batch, unit.row, [&](int cell) { return tree_[trees++] = cell, true; });
    score(unit, seen);
    const int first = seen.begin / F32::lanes * F32::lanes;
    const int wanted = chosen_cells(labels_, seen.end - seen.begin), lists = labels_.grouped ? 1 : call_.group;
    if (labels_.grouped) join(seen);
    for (int list = 0; list < lists; ++list) {
      float* scores = scores_ + (labels_.grouped ? call_.group : list) * slots_;
      force(scores, seen);
      top_positions(scores, seen.end - first, wanted, chosen_, work_, keys_);
      for (int i = 0; i < wanted; ++i) chosen_[i] += first;
      body(seen, list, wanted);
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
    if (call_.kv.offloaded_layer(call_.layer) >= 0) return attend_held(call, unit, seen, count, first_query, member);
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

  // The same for rows that may be in a file, held some at a time; `call`: of some queries only. Where they cannot be
  // had, the run fails.
  void attend_held(const Call& call, const Unit& unit, const Visible& seen, int count, int first_query,
                   const Member& member) const {
    OffloadedLayers* const offloaded = call.kv.offloaded();
    const int layer = call.kv.offloaded_layer(call.layer), most = rows_held_at_once(*offloaded, team_.threads());
    const float* query = member.queries + first_query * call.parts.key_pad;
    const std::byte *keys[most_rows_held], *values[most_rows_held];
    RowPlace places[most_rows_held];
    int32_t held[most_rows_held];
    for (int span = 0; span < count; span += attention_span) {
      for (int n = 0; n < call.group; ++n) clear(call, member.span + n * call.parts.state);
      const int end = span + attention_span < count ? span + attention_span : count;
      for (int piece = span, size; piece < end; piece += size) {
        size = end - piece < most ? end - piece : most;
        find_held(unit, seen, chosen_ + piece, size, places, keys, values);
        if (!hold_rows(*offloaded, layer, unit.head, places, size, keys, held)) return;
        for (int i = 0; i < size; ++i)
          if (held[i] >= 0) values[i] = keys[i] + call.kv.key_row_bytes();
        for (int chunk = 0; chunk < size; chunk += attention_chunk) {
          const int left = size - chunk, own = left < attention_chunk ? left : attention_chunk;
          const int next = left - own < attention_chunk ? left - own : attention_chunk;
          ChunkOfRows some(call, keys + chunk, values + chunk, own, query, member, member.span);
          some.attend(keys + chunk + own, values + chunk + own, next);
        }
        let_rows_go(*offloaded, held, size);
      }
      for (int n = 0; n < call.group; ++n)
        merge(call, member.merged + n * call.parts.state, member.span + n * call.parts.state);
    }
    for (int n = 0; n < call.group; ++n) write(call_, unit, first_query + n, member.merged + n * call.parts.state);
  }

  // Keys are null where the page's part is not in memory.
  void find_held(const Unit& unit, const Visible& seen, const int32_t* slots, int count, RowPlace* places,
                 const std::byte** keys, const std::byte** values) const {
    const PagedKv& kv = call_.kv;
    const int size = layout_.page_size, sequence = call_.batch.sequences[unit.row];
    const int layer = kv.offloaded_layer(call_.layer);
    const int64_t key_at = kv.keys_at(call_.layer, unit.head), value_at = kv.values_at(call_.layer, unit.head);
    for (int i = 0; i < count; ++i) {
      const int cell = slots[i] < seen.prefix ? slots[i] : tree_[slots[i] - seen.prefix];
      places[i] = {kv.page_number(sequence, cell / size), cell % size};
      const std::byte* part = kv.part_or_null(places[i].page, layer);
      keys[i] = part == nullptr ? nullptr : part + key_at + places[i].slot * kv.key_row_bytes();
      values[i] = part == nullptr ? nullptr : part + value_at + places[i].slot * kv.value_row_bytes();
    }
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
