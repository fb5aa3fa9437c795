// Body of attention, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/attention/attention.h"

#include "ops/attention/attention_rows.h"
#include "ops/attention/attention_tiles.h"
#include "ops/norm/sums.h"

namespace vivace::VIVACE_ISA {
namespace {

constexpr float infinity = __builtin_huge_valf();

// One call's constants.
struct Call {
  const Batch& batch;
  const PagedKv& kv;
  const Tensor &q, &y;
  const AttentionScratch& parts;
  int layer, heads, kv_heads, group, window;
  int64_t key_dim, value_dim;
  float scale, softcap;
};

// Rows [row, end) of one sequence with one KV head: (end − row) · group query vectors.
struct Unit {
  int64_t row, end;
  int head;
};

struct Member {
  float *queries, *scores, *span, *merged, *rows;
};

float& max_in(const Call& call, float* state) {
  return state[call.parts.value_pad];
}
float& sum_in(const Call& call, float* state) {
  return state[call.parts.value_pad + 1];
}

float exp_of(float x) {
  float values[F32::lanes];
  store(values, exp(set1(x)));
  return values[0];
}

void clear(const Call& call, float* state) {
  for (int64_t i = 0; i < call.parts.value_pad; i += F32::lanes) store(state + i, zero());
  max_in(call, state) = -infinity;
  sum_in(call, state) = 0.0f;
}

void load_queries(const Call& call, const Unit& unit, float* queries) {
  const F32 scale = set1(call.scale);
  for (int64_t row = unit.row; row < unit.end; ++row)
    for (int h = 0; h < call.group; ++h, queries += call.parts.key_pad) {
      const float* in = call.q.row<const float>(row) + (unit.head * call.group + h) * call.key_dim;
      for (int64_t i = call.key_dim / 16 * 16; i < call.parts.key_pad; i += F32::lanes) store(queries + i, zero());
      for_lanes(call.key_dim, [&](int64_t i, int n) { store_some(queries + i, load_some(in + i, n) * scale, n); });
    }
}

// One chunk of scores becomes weights e^(s − m) of the state's new maximum m; what the state holds is rescaled.
// Scores outside of [from, to) are unseen.
void weigh(const Call& call, float* scores, int from, int to, float* state) {
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
  const float now = chunk_max > old ? chunk_max : old;
  if (now > old) {
    const float factor = exp_of(old - now);
    for (int64_t i = 0; i < call.parts.value_pad; i += F32::lanes) store(state + i, load(state + i) * set1(factor));
    sum_in(call, state) *= factor;
    max_in(call, state) = now;
  }
  sum_in(call, state) += sum_over(attention_chunk, [&](int64_t k, int) {
    const F32 weight = exp(load(scores + k) - set1(now));
    store(scores + k, weight);
    return weight;
  });
}

// Rows of a unit that go through a chunk together, and the slots of the chunk that each of them sees.
struct Together {
  int row, rows;  // of the unit
  const int *from, *to;
};

// One chunk for the query vectors of a few rows. `ahead`: slots up to this one will be read next.
void attend(const Call& call, const Unit& unit, const Together& those, int prefix, int chunk, int ahead,
            const Member& member, float* states) {
  const AttentionScratch& parts = call.parts;
  const PagedKvOptions& options = call.kv.options();
  const int64_t row = unit.row + those.row;
  const int count = those.rows * call.group, first = those.row * call.group;
  int begin = those.from[0], end = those.to[0];
  for (int r = 1; r < those.rows; ++r) {
    if (those.from[r] < begin) begin = those.from[r];
    if (those.to[r] > end) end = those.to[r];
  }
  const std::byte *keys[attention_chunk], *values[attention_chunk], *next_keys[attention_chunk];
  find_slots(call.batch, call.kv, row, call.layer, unit.head, prefix, begin, end, keys, values);
  int next = chunk + attention_chunk, next_end = next + attention_chunk < ahead ? next + attention_chunk : ahead;
  if (next_end > prefix) next_end = prefix;
  if (next_end < next) next_end = next;
  find_slots(call.batch, call.kv, row, call.layer, unit.head, prefix, next, next_end, next_keys, nullptr);
  const int seen = end - begin, offset = begin - chunk;
  const auto tile_range = [&](int n, int queries, bool all, int& low, int& high) {
    const int one = n / call.group, last = (n + queries - 1) / call.group;
    low = those.from[one], high = those.to[one];
    for (int r = one + 1; r <= last; ++r) {
      if (all == (those.from[r] > low)) low = those.from[r];
      if (all == (those.to[r] < high)) high = those.to[r];
    }
    low -= begin;
    high -= begin;
  };
  const float* queries = member.queries + first * parts.key_pad;
  const auto score = [&]<class Rows>(Rows) {
    for_query_tiles(count, [&]<class Tile>(int n, Tile) {
      int low, high;
      tile_range(n, Tile::queries, false, low, high);
      score_tiles<Rows, Tile::queries>(queries + n * parts.key_pad, parts.key_pad, keys + low, high - low, call.key_dim,
                                       member.scores + n * attention_chunk + offset + low,
                                       {values + low, n == 0 ? high - low : 0, call.kv.value_row_bytes()});
    });
  };
  with_rows(options.key_dtype, [&]<class Rows>(Rows rows) {
    if (count <= tile_queries * Rows::most_tiles) return score(rows);
    widen_rows<Rows>(keys, seen, call.key_dim, member.rows, parts.key_pad);
    score(F32Rows{});
  });
  float* first_state = states + first * parts.state;
  for (int n = 0; n < count; ++n) {
    const int r = n / call.group;
    weigh(call, member.scores + n * attention_chunk, those.from[r] - chunk, those.to[r] - chunk,
          first_state + n * parts.state);
  }
  const auto add_values = [&]<class Rows, class Tile>(Rows, Tile, int n, int low, int high, const Ahead& later) {
    if (low < high)
      value_tiles<Rows, Tile::queries>(member.scores + n * attention_chunk + offset + low, values + low, high - low,
                                       call.value_dim, first_state + n * parts.state, parts.state, later);
  };
  const auto add = [&]<class Rows>(Rows rows) {
    for_query_tiles(count, [&]<class Tile>(int n, Tile tile) {
      // What all queries of the tile see they read together; before and after it everyone reads alone.
      const Ahead none = {nullptr, 0, 0}, later = {next_keys, n == 0 ? next_end - next : 0, call.kv.key_row_bytes()};
      int low, high;
      tile_range(n, Tile::queries, true, low, high);
      if (low > high) low = high;
      const auto alone = [&](bool before) {
        for (int i = n; i < n + Tile::queries; ++i) {
          const int from = those.from[i / call.group] - begin, to = those.to[i / call.group] - begin;
          if (before)
            add_values(rows, QueryTile<1>{}, i, from, low, none);
          else
            add_values(rows, QueryTile<1>{}, i, from > high ? from : high, to, none);
        }
      };
      if constexpr (Tile::queries > 1) alone(true);
      add_values(rows, tile, n, low, high, later);
      if constexpr (Tile::queries > 1) alone(false);
    });
  };
  with_rows(options.value_dtype, [&]<class Rows>(Rows rows) {
    if (count <= tile_queries * Rows::most_tiles) return add(rows);
    widen_rows<Rows>(values, seen, call.value_dim, member.rows, parts.value_pad);
    add(F32Rows{});
  });
}

// The states of a unit's query vectors over one span of slots. `ahead`: the unit reads on up to this slot.
void attend_span(const Call& call, const Unit& unit, int span, int ahead, const Member& member, float* states) {
  const int rows = static_cast<int>(unit.end - unit.row);
  for (int n = 0; n < rows * call.group; ++n) clear(call, states + n * call.parts.state);
  Visible seen[queries_per_unit];
  for (int r = 0; r < rows; ++r) seen[r] = visible_slots(call.batch, unit.row + r, call.window);
  for (int chunk = span * attention_span; chunk < (span + 1) * attention_span; chunk += attention_chunk) {
    const int chunk_end = chunk + attention_chunk;
    const auto clip = [&](int slot) { return slot < chunk ? chunk : slot < chunk_end ? slot : chunk_end; };
    int from[queries_per_unit], to[queries_per_unit];
    for (int r = 0; r < rows; ++r) from[r] = clip(seen[r].begin), to[r] = clip(seen[r].end);
    for (int r = 0; r < rows;) {
      const int first = r++;
      int prefix = seen[first].prefix;
      const bool plain = to[first] <= prefix;
      if (from[first] == to[first]) continue;
      // Rows that read cells of their prefix only go together.
      for (; plain && r < rows && from[r] < to[r] && to[r] <= seen[r].prefix; ++r)
        if (seen[r].prefix > prefix) prefix = seen[r].prefix;
      attend(call, unit, {first, r - first, from + first, to + first}, prefix, chunk, ahead, member, states);
    }
  }
}

void merge(const Call& call, float* into, float* from) {
  if (sum_in(call, from) == 0.0f) return;
  float weight_into = 0.0f, weight_from = 1.0f, now = max_in(call, from);
  if (sum_in(call, into) != 0.0f) {
    const float old = max_in(call, into);
    now = old > now ? old : now;
    weight_into = exp_of(old - now);
    weight_from = exp_of(max_in(call, from) - now);
  }
  const F32 a = set1(weight_into), b = set1(weight_from);
  for (int64_t i = 0; i < call.parts.value_pad; i += F32::lanes)
    store(into + i, fma(b, load(from + i), a * load(into + i)));
  sum_in(call, into) = weight_into * sum_in(call, into) + weight_from * sum_in(call, from);
  max_in(call, into) = now;
}

// Query vector n of a unit is done.
void write(const Call& call, const Unit& unit, int n, float* state) {
  float* out =
      call.y.row<float>(unit.row + n / call.group) + (unit.head * call.group + n % call.group) * call.value_dim;
  const float total = sum_in(call, state);
  const F32 inverse = set1(total == 0.0f ? 0.0f : 1.0f / total);
  for_lanes(call.value_dim, [&](int64_t i, int count) { store_some(out + i, load(state + i) * inverse, count); });
}

Unit unit_of(const RowRuns& rows, int run, int head) {
  return {rows.runs[run].row, rows.runs[run + 1].row, head};
}

// Every unit is one member's; for prompts, many sequences or short ones.
void attend_by_units(const Call& call, const RowRuns& rows, const Member& member, Team& team) {
  const int64_t units = static_cast<int64_t>(rows.count) * call.kv_heads;
  team.share(units, 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t place = units - 1 - index;  // a prompt's last rows see most: they come first
      const int run = static_cast<int>(place / call.kv_heads);
      const Unit unit = unit_of(rows, run, static_cast<int>(place % call.kv_heads));
      const int count = static_cast<int>(unit.end - unit.row) * call.group, spans = rows.spans(run, call.kv_heads);
      load_queries(call, unit, member.queries);
      for (int n = 0; n < count; ++n) clear(call, member.merged + n * call.parts.state);
      for (int span = 0; span < spans; ++span) {
        attend_span(call, unit, rows.runs[run].first_span + span, INT32_MAX, member, member.span);
        for (int n = 0; n < count; ++n)
          merge(call, member.merged + n * call.parts.state, member.span + n * call.parts.state);
      }
      for (int n = 0; n < count; ++n) write(call, unit, n, member.merged + n * call.parts.state);
    }
  });
}

// Spans of few long units are shared by the team, in waves of as many as there are slots for their states. Items are
// ordered by unit, so at most one unit passes from a wave to the next; its states wait in `carry`.
void attend_by_spans(const Call& call, const RowRuns& rows, const Member& member, float* scratch, Team& team) {
  const AttentionScratch& parts = call.parts;
  const int64_t unit_floats = parts.queries * parts.state;
  float *const slots = scratch + parts.span_states, *const carry = scratch + parts.carry;
  const int wave_items = static_cast<int>(parts.slots);
  int first_run = 0;  // of the wave
  for (int wave = 0; wave * wave_items < rows.items; ++wave) {
    const int begin = wave * wave_items, end = begin + wave_items < rows.items ? begin + wave_items : rows.items;
    while (rows.runs[first_run + 1].first_item <= begin) ++first_run;
    team.share(end - begin, 1, [&](int64_t from, int64_t to) {
      for (int64_t slot = from; slot < to; ++slot) {
        const int item = begin + static_cast<int>(slot);
        int run = first_run;
        while (rows.runs[run + 1].first_item <= item) ++run;
        const int spans = rows.spans(run, call.kv_heads), place = item - rows.runs[run].first_item;
        const Unit unit = unit_of(rows, run, place / spans);
        load_queries(call, unit, member.queries);
        const int span = rows.runs[run].first_span + place % spans;
        attend_span(call, unit, span, (span + 1) * attention_span, member, slots + slot * unit_floats);
      }
    });
    team.barrier();
    const float* carried = carry + (wave & 1) * unit_floats;
    float* passed_on = carry + (~wave & 1) * unit_floats;
    int64_t task = 0;
    int run = first_run;
    for (int item = begin; item < end;) {
      while (rows.runs[run + 1].first_item <= item) ++run;
      const int spans = rows.spans(run, call.kv_heads), place = item - rows.runs[run].first_item;
      const Unit unit = unit_of(rows, run, place / spans);
      const int done = place % spans, left = spans - done < end - item ? spans - done : end - item;
      const int count = static_cast<int>(unit.end - unit.row) * call.group;
      for (int n = 0; n < count; ++n) {
        if (task++ % team.threads() != team.thread()) continue;
        float* state = member.merged;
        if (done == 0)
          clear(call, state);
        else
          std::memcpy(state, carried + n * parts.state, sizeof(float) * static_cast<size_t>(parts.state));
        for (int span = 0; span < left; ++span)
          merge(call, state, slots + (item - begin + span) * unit_floats + n * parts.state);
        if (done + left == spans)
          write(call, unit, n, state);
        else
          std::memcpy(passed_on + n * parts.state, state, sizeof(float) * static_cast<size_t>(parts.state));
      }
      item += left;
    }
    team.barrier();
  }
}

}  // namespace

void attention(const OpRun& run, Team& team) {
  const double* a = run.attributes;
  const PagedKvOptions& options = run.kv->options();
  const int heads = static_cast<int>(a[1]);
  const AttentionScratch parts(run.inputs[0].rows, heads, options.key_dim, options.value_dim, team.threads());
  const Call call = {*run.batch,
                     *run.kv,
                     run.inputs[0],
                     run.outputs[0],
                     parts,
                     static_cast<int>(a[0]),
                     heads,
                     options.kv_heads,
                     heads / options.kv_heads,
                     static_cast<int>(a[5]),
                     options.key_dim,
                     options.value_dim,
                     static_cast<float>(a[3]),
                     static_cast<float>(a[4])};
  float* scratch = reinterpret_cast<float*>(run.scratch);
  RowRun* table = reinterpret_cast<RowRun*>(scratch + parts.runs);
  if (team.thread() == 0)
    group_rows(call.batch, call.q.rows, call.group < queries_per_unit ? queries_per_unit / call.group : 1,
               call.kv_heads, call.window, table);
  team.barrier();
  const RowRuns rows = {table + 1, table[0].row, table[0].first_item, table[0].first_span};
  float* mine = scratch + parts.members + team.thread() * parts.member_floats();
  float* scores = mine + parts.queries * parts.key_pad;
  float* states = scores + parts.queries * attention_chunk;
  const Member member = {mine, scores, states, states + parts.queries * parts.state,
                         states + 2 * parts.queries * parts.state};
  // Whole units keep the team busy unless the longest one is more than half of a fair share.
  const bool few = static_cast<int64_t>(rows.longest) * team.threads() * 2 > rows.items;
  if (team.threads() > 1 && rows.longest > 1 && few)
    attend_by_spans(call, rows, member, scratch, team);
  else
    attend_by_units(call, rows, member, team);
}

}  // namespace vivace::VIVACE_ISA
