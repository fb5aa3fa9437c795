// Body of attention, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/attention/attention.h"

#include "ops/attention/parts/attention_chunk.h"
#include "ops/attention/parts/attention_patterns.h"
#include "ops/attention/snap/snap.h"
#include "ops/attention/sparse/sparse_rows.h"

namespace vivace::VIVACE_ISA {
namespace {

// What a row sees whose turn is here: nothing for those that choose.
Visible seen_by(const Call& call, int64_t row) {
  if (SparseRows::chooses(call, row)) return {0, 0, 0};
  return visible_slots(call.batch, row, call.pattern.window);
}

// The states of a unit's query vectors over one span of slots. `after`: what is read after the span.
void attend_span(const Call& call, const Unit& unit, int span, const Next& after, const Member& member, float* states) {
  const int rows = static_cast<int>(unit.end - unit.row);
  for (int n = 0; n < rows * call.group; ++n) clear(call, states + n * call.parts.state);
  Visible seen[queries_per_unit];
  int last = 0;
  const int page = call.kv.by_channel() ? call.kv.options().page_size : 0;
  const auto own_page = [&](const Visible& row) { return page == 0 ? 0 : (row.end - 1) / page * page; };
  for (int r = 0; r < rows; ++r) {
    seen[r] = seen_by(call, unit.row + r);
    if (seen[r].end > last) last = seen[r].end;
  }
  if (last > (span + 1) * attention_span) last = (span + 1) * attention_span;
  for (int chunk = span * attention_span; chunk < last; chunk += attention_chunk) {
    const int chunk_end = chunk + attention_chunk;
    const auto clip = [&](int slot) { return slot < chunk ? chunk : slot < chunk_end ? slot : chunk_end; };
    int from[queries_per_unit], to[queries_per_unit];
    for (int r = 0; r < rows; ++r) from[r] = to[r] = clip(seen[r].begin);
    // Mostly everything in one go; blocks that lie apart, one after the other.
    for (bool more = true; more;) {
      more = false;
      for (int r = 0; r < rows; ++r) {
        const Slots slots =
            next_slots(call.pattern, unit.head, call.kv_heads, seen[r].end - 1, to[r], clip(seen[r].end));
        from[r] = slots.from;
        to[r] = slots.to;
        // Keys by channel: those of the row's own page are read as they were.
        if (from[r] < own_page(seen[r]) && to[r] > own_page(seen[r])) to[r] = own_page(seen[r]);
        more = more || to[r] < clip(seen[r].end);
      }
      for (int r = 0; r < rows;) {
        const int first = r++;
        int prefix = seen[first].prefix;
        const bool plain = to[first] <= prefix;
        if (from[first] == to[first]) continue;
        // Rows that read cells of their prefix only go together, where what they see lies next to each other.
        const bool coded = to[first] <= own_page(seen[first]);
        const auto joins = [&](int row) {
          return (call.pattern.block == 0 || from[row] == from[first]) && (to[row] <= own_page(seen[row])) == coded;
        };
        for (; plain && r < rows && from[r] < to[r] && to[r] <= seen[r].prefix && joins(r); ++r)
          if (seen[r].prefix > prefix) prefix = seen[r].prefix;
        Next next = after;
        if (call.pattern.block > 0) {
          next = {unit.row, unit.head, 0, 0};  // what follows may be gone
        } else if (chunk_end < last) {
          const int end = chunk_end + attention_chunk < prefix ? chunk_end + attention_chunk : prefix;
          next = {unit.row + first, unit.head, chunk_end, end};
        }
        const Together those = {first, r - first, from + first, to + first, coded};
        ChunkOfRows(call, unit, those, prefix, chunk, member, states).attend(next);
      }
    }
  }
}

// A unit's first span, and before it the sinks that lie beyond: in a state of their own, since other distances count
// there.
void attend_first(const Call& call, const Unit& unit, int span, const Next& after, const Member& member,
                  float* states) {
  if (call.pattern.sinks == 0) return attend_span(call, unit, span, after, member, states);
  attend_sinks(call, unit, member, states);
  load_queries(call, unit, member);
  attend_span(call, unit, span, after, member, member.merged);
  const int count = static_cast<int>(unit.end - unit.row) * call.group;
  for (int n = 0; n < count; ++n) merge(call, states + n * call.parts.state, member.merged + n * call.parts.state);
}

Unit unit_of(const RowRuns& rows, int run, int head) {
  return {rows.runs[run].row, rows.runs[run + 1].row, head};
}

// What a unit's first row sees first; as long as that is not cells of a tree.
Next first_chunk(const Call& call, const Unit& unit) {
  const Visible seen = seen_by(call, unit.row);
  const int end = seen.begin / attention_chunk * attention_chunk + attention_chunk;
  return {unit.row, unit.head, seen.begin, end < seen.prefix ? end : seen.prefix};
}

// Every unit is one member's; for prompts, many sequences or short ones.
void attend_by_units(const Call& call, const RowRuns& rows, const Member& member, Team& team) {
  const int64_t units = static_cast<int64_t>(rows.count) * call.kv_heads;
  const auto unit_at = [&](int64_t index) {
    const int64_t place = units - 1 - index;  // a prompt's last rows see most: they come first
    return unit_of(rows, static_cast<int>(place / call.kv_heads), static_cast<int>(place % call.kv_heads));
  };
  const auto attend = [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const Unit unit = unit_at(index);
      const int run = static_cast<int>((units - 1 - index) / call.kv_heads);
      const int count = static_cast<int>(unit.end - unit.row) * call.group, spans = rows.spans(run, call.kv_heads);
      load_queries(call, unit, member);
      for (int span = 0; span < spans; ++span) {
        const int number = rows.runs[run].first_span + span, next = (number + 1) * attention_span;
        Next after = {unit.row, unit.head, 0, 0};
        if (span + 1 < spans) {
          const int prefix = call.batch.visible[unit.row];
          after = {unit.row, unit.head, next, next + attention_chunk < prefix ? next + attention_chunk : prefix};
        } else if (index + 1 < end && call.pattern.block == 0) {
          after = first_chunk(call, unit_at(index + 1));
        }
        (span == 0 ? attend_first : attend_span)(call, unit, number, after, member, member.span);
        for (int n = 0; n < count && span == 0; ++n) clear(call, member.merged + n * call.parts.state);
        for (int n = 0; n < count; ++n)
          merge(call, member.merged + n * call.parts.state, member.span + n * call.parts.state);
      }
      for (int n = 0; n < count; ++n) write(call, unit, n, member.merged + n * call.parts.state);
    }
  };
  if (rows.count > 1 || units % team.threads() != 0) return team.share(units, 1, attend);
  // Even shares of one token, known beforehand: the next head's keys are fetched with the last values of one.
  int64_t begin, end;
  team.range(units, 1, begin, end);
  attend(begin, end);
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
        load_queries(call, unit, member);
        const int span = rows.runs[run].first_span + place % spans;
        (place % spans == 0 ? attend_first : attend_span)(call, unit, span, {unit.row, unit.head, 0, 0}, member,
                                                          slots + slot * unit_floats);
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

// Rows that choose get zeros.
void attend_in_full(const Call& call, const Member& member, float* scratch, Team& team) {
  const AttentionScratch& parts = call.parts;
  RowRun* table = reinterpret_cast<RowRun*>(scratch + parts.runs);
  if (team.thread() == 0)
    group_rows(
        call.batch, call.q.rows, call.group < queries_per_unit ? queries_per_unit / call.group : 1, call.kv_heads,
        [&](int64_t row) { return seen_by(call, row); }, table);
  team.barrier();
  const RowRuns rows = {table + 1, table[0].row, table[0].first_item, table[0].first_span};
  // Whole units keep the team busy unless the longest one is more than half of a fair share.
  const bool few = static_cast<int64_t>(rows.longest) * team.threads() * 2 > rows.items;
  if (team.threads() > 1 && rows.longest > 1 && few)
    attend_by_spans(call, rows, member, scratch, team);
  else
    attend_by_units(call, rows, member, team);
}

}  // namespace

void attention(const OpRun& run, Team& team) {
  const double* a = run.attributes;
  const PagedKvOptions& options = run.kv->options();
  const int heads = static_cast<int>(a[1]);
  const AttentionScratch parts(run.inputs[0].rows, heads, options.key_dim, options.value_dim, team.threads());
  LayerPattern pattern;
  if (const LayerPattern* const own = run.kv->pattern(static_cast<int>(a[0])))
    pattern = *own;
  else
    pattern.window = static_cast<int>(a[5]);
  const Call call = {*run.batch,
                     *run.kv,
                     run.inputs[0],
                     run.outputs[0],
                     parts,
                     static_cast<int>(a[0]),
                     heads,
                     options.kv_heads,
                     heads / options.kv_heads,
                     pattern,
                     options.key_dim,
                     options.value_dim,
                     static_cast<float>(a[3]),
                     static_cast<float>(a[4])};
  float* scratch = reinterpret_cast<float*>(run.scratch);
  float* mine = scratch + parts.members + team.thread() * parts.member_floats();
  const Member member(parts, mine);
  int64_t choosing = 0;
  for (int64_t row = 0; row < call.q.rows; ++row) choosing += SparseRows::chooses(call, row) ? 1 : 0;
  if (choosing < call.q.rows) attend_in_full(call, member, scratch, team);
  if (choosing > 0) {
    team.barrier();  // rows of zeros are behind
    SparseRows(call, run.kv->scratch(), team).attend(member);
  }
  if (call.batch.compressed > 0) compress_prompts(call, member, team);
}

}  // namespace vivace::VIVACE_ISA
