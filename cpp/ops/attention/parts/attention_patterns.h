// What rows see beside their window: sinks that it has left, and blocks of which some are skipped. For files compiled
// per instruction-set level.
#pragma once
#include "ops/attention/parts/attention_chunk.h"
#include "ops/norm/sums.h"

namespace vivace::VIVACE_ISA {

// Slots [from, to).
struct Slots {
  int from, to;
};

// The first slots from `begin` on that a row sees of [begin, end), as many as lie next to each other; empty: none.
// `row`: the row's own slot, and so its position.
inline Slots next_slots(const LayerPattern& pattern, int head, int kv_heads, int row, int begin, int end) {
  if (pattern.block == 0 || head >= kv_heads - pattern.dense_heads) return {begin, end};
  const int own = row / pattern.block, offset = pattern.head_offset + head * pattern.head_step;
  const auto sees = [&](int block) {
    return own - block < pattern.local || (block + offset) % pattern.stride == 0 ||
           (block == 0 && pattern.always_first);
  };
  int from = begin;
  while (from < end && !sees(from / pattern.block)) from = (from / pattern.block + 1) * pattern.block;
  if (from >= end) return {end, end};
  int to = from;
  while (to < end && sees(to / pattern.block)) to = (to / pattern.block + 1) * pattern.block;
  return {from, to < end ? to : end};
}

// (a, b) → (a·cos − b·sin, b·cos + a·sin) for pairs that lie `half` apart.
inline void turn(float* x, const float* cosines, const float* sines, int64_t half) {
  for_lanes(half, [&](int64_t i, int n) {
    const F32 a = load_some(x + i, n), b = load_some(x + half + i, n);
    const F32 c = load_some(cosines + i, n), s = load_some(sines + i, n);
    store_some(x + i, a * c - b * s, n);
    store_some(x + half + i, b * c + a * s, n);
  });
}

// Of a row's slots, the sinks that its window has left.
inline int far_sinks(const Call& call, const Visible& seen) {
  return call.pattern.sinks < seen.begin ? call.pattern.sinks : seen.begin;
}

// The states of a unit's query vectors over the sinks that their windows have left, at the distance that the policy
// wants. Row by row, in the order of the sinks: a result depends on the row alone. Uses the member's queries, scores
// and rows.
inline void attend_sinks(const Call& call, const Unit& unit, const Member& member, float* states) {
  const int64_t key_pad = call.parts.key_pad, value_pad = call.parts.value_pad, state_floats = call.parts.state;
  const SinkRotation& rotation = call.kv.options().policy.rotation;
  const int table = rotation.tables.empty() ? -1 : rotation.layers[static_cast<size_t>(call.layer)];
  const int64_t half = table < 0 ? 0 : static_cast<int64_t>(rotation.tables[static_cast<size_t>(table)].size());
  const SinkAngles& angles = call.kv.sink_angles();
  const F32 scale = set1(call.scale);
  for (int64_t row = unit.row; row < unit.end; ++row) {
    const Visible seen = visible_slots(call.batch, row, call.pattern.window);
    const int sinks = far_sinks(call, seen);
    for (int h = 0; h < call.group && sinks > 0; ++h) {
      const float* in = call.q.row<const float>(row) + (unit.head * call.group + h) * call.key_dim;
      float* query = member.queries + h * key_pad;
      for (int64_t i = call.key_dim / 16 * 16; i < key_pad; i += F32::lanes) store(query + i, zero());
      for_lanes(call.key_dim, [&](int64_t i, int n) { store_some(query + i, load_some(in + i, n) * scale, n); });
      if (table < 0) continue;
      const float* own = call.batch.sink_angles + row * call.batch.sink_stride + angles.offset(table);
      turn(query, own, own + half, half);
    }
    float* states_of_row = states + (row - unit.row) * call.group * state_floats;
    for (int h = 0; h < call.group; ++h) clear(call, states_of_row + h * state_floats);
    for (int chunk = 0; chunk < sinks; chunk += attention_chunk) {
      const int count = sinks - chunk < attention_chunk ? sinks - chunk : attention_chunk;
      const std::byte *keys[attention_chunk], *values[attention_chunk];
      int found = 0;
      for_strips(call.batch, call.kv, row, seen.prefix, chunk, chunk + count, [&](int page, int slot, int some) {
        const int sequence = call.batch.sequences[row];
        for (int i = 0; i < some; ++i, ++found) {
          keys[found] = call.kv.keys(sequence, page, call.layer, unit.head) + (slot + i) * call.kv.key_row_bytes();
          values[found] =
              call.kv.values(sequence, page, call.layer, unit.head) + (slot + i) * call.kv.value_row_bytes();
        }
      });
      with_keys(call.kv.options().key_dtype,
                [&]<class Rows>(Rows) { widen_rows<Rows>(keys, count, call.key_dim, member.rows, key_pad); });
      if (table >= 0 && rotation.ceiling)
        for (int k = 0; k < count; ++k) {
          const float* back = angles.of_sink(table, chunk + k);
          turn(member.rows + k * key_pad, back, back + half, half);
        }
      for (int h = 0; h < call.group; ++h) {
        float* scores = member.scores + h * attention_chunk;
        const float* query = member.queries + h * key_pad;
        for (int k = 0; k < count; ++k) {
          const float* key = member.rows + k * key_pad;
          F32 sum_of = zero();
          for (int64_t i = 0; i < key_pad; i += F32::lanes) sum_of = fma(load(query + i), load(key + i), sum_of);
          scores[k] = sum(sum_of);
        }
        weigh(call, scores, 0, count, states_of_row + h * state_floats);
      }
      // Whatever the type: values with their scales.
      const auto widen = [&]<class Rows>(Rows) {
        widen_rows<Rows>(values, count, call.value_dim, member.rows, value_pad);
      };
      with_keys(call.kv.options().value_dtype, widen);
      Ahead nothing;
      for (int h = 0; h < call.group; ++h)
        value_tiles<F32Rows, 1>(member.scores + h * attention_chunk, values, count, call.value_dim,
                                states_of_row + h * state_floats, state_floats, nothing, 0);
    }
  }
}

}  // namespace vivace::VIVACE_ISA
