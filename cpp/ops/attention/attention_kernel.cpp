// Body of attention, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/attention/attention.h"

#include "ops/attention/attention_rows.h"
#include "ops/attention/attention_tiles.h"
#include "ops/norm/sums.h"

namespace vivace::VIVACE_ISA {
namespace {

constexpr int rows_per_run = 16;  // at most; fewer when a KV head serves several query heads
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
  float *queries, *scores, *span, *merged;
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

// Slots [from, to) of the chunk at `chunk` for query vectors [first, first + count), all of which see them.
void attend(const Call& call, const Unit& unit, int64_t row, int prefix, int chunk, int from, int to, int first,
            int count, const Member& member, float* states) {
  const PagedKvOptions& options = call.kv.options();
  const std::byte *keys[attention_chunk], *values[attention_chunk];
  find_slots(call.batch, call.kv, row, call.layer, unit.head, prefix, from, to, keys, values);
  const int seen = to - from, offset = from - chunk;
  const float* queries = member.queries + first * call.parts.key_pad;
  with_rows(options.key_dtype, [&]<class Rows>(Rows) {
    for_query_tiles(count, [&]<class Tile>(int n, Tile) {
      score_tile<Rows, Tile::queries>(queries + n * call.parts.key_pad, call.parts.key_pad, keys, seen, call.key_dim,
                                      member.scores + n * attention_chunk + offset);
    });
  });
  float* first_state = states + first * call.parts.state;
  for (int n = 0; n < count; ++n)
    weigh(call, member.scores + n * attention_chunk, offset, offset + seen, first_state + n * call.parts.state);
  with_rows(options.value_dtype, [&]<class Rows>(Rows) {
    for_query_tiles(count, [&]<class Tile>(int n, Tile) {
      value_tiles<Rows, Tile::queries>(member.scores + n * attention_chunk + offset, values, seen, call.value_dim,
                                       first_state + n * call.parts.state, call.parts.state);
    });
  });
}

// The states of a unit's query vectors over one span of slots.
void attend_span(const Call& call, const Unit& unit, int span, const Member& member, float* states) {
  const int rows = static_cast<int>(unit.end - unit.row);
  for (int n = 0; n < rows * call.group; ++n) clear(call, states + n * call.parts.state);
  Visible seen[rows_per_run];
  for (int r = 0; r < rows; ++r) seen[r] = visible_slots(call.batch, unit.row + r, call.window);
  for (int chunk = span * attention_span; chunk < (span + 1) * attention_span; chunk += attention_chunk) {
    const int chunk_end = chunk + attention_chunk;
    const auto clip = [&](int slot) { return slot < chunk ? chunk : slot < chunk_end ? slot : chunk_end; };
    for (int r = 0; r < rows;) {
      const int from = clip(seen[r].begin), to = clip(seen[r].end), prefix = seen[r].prefix;
      int next = r + 1;
      // Rows that see the same cells of this chunk go together.
      for (; to <= prefix && next < rows; ++next)
        if (clip(seen[next].begin) != from || clip(seen[next].end) != to || to > seen[next].prefix) break;
      if (from < to)
        attend(call, unit, unit.row + r, prefix, chunk, from, to, r * call.group, (next - r) * call.group, member,
               states);
      r = next;
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
        attend_span(call, unit, rows.runs[run].first_span + span, member, member.span);
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
        attend_span(call, unit, rows.runs[run].first_span + place % spans, member, slots + slot * unit_floats);
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
    group_rows(call.batch, call.q.rows, call.group < rows_per_run ? rows_per_run / call.group : 1, call.kv_heads,
               call.window, table);
  team.barrier();
  const RowRuns rows = {table + 1, table[0].row, table[0].first_item, table[0].first_span};
  float* mine = scratch + parts.members + team.thread() * parts.member_floats();
  const Member member = {mine, mine + parts.queries * parts.key_pad,
                         mine + parts.queries * (parts.key_pad + attention_chunk),
                         mine + parts.queries * (parts.key_pad + attention_chunk + parts.state)};
  // Whole units keep the team busy unless the longest one is more than half of a fair share.
  const bool few = static_cast<int64_t>(rows.longest) * team.threads() * 2 > rows.items;
  if (team.threads() > 1 && rows.longest > 1 && few)
    attend_by_spans(call, rows, member, scratch, team);
  else
    attend_by_units(call, rows, member, team);
}

}  // namespace vivace::VIVACE_ISA
