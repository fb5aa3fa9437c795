// The bodies of `expert_gate_up` and `expert_down`, for files compiled per level: rows of the batch are sorted by the
// expert that they go to, and every expert's weights are read once, by the tiles of `linear`.
#pragma once
#include "ops/experts/expert_pairs.h"
#include "ops/linear/families/gated.h"

namespace vivace::VIVACE_ISA {

// Null where the matrices of all experts are there.
inline const ExpertPlaces* places_of(const OpRun& run) {
  return reinterpret_cast<const ExpertPlaces*>(run.inputs[places_input].data);
}

// The matrix of one expert: out of a stack of them, or where the run says. Panels begin with an expert, too
// (program/rewrite/panels.h).
template <class Sums>
Tensor one_expert(const OpRun& run, const Sums& all, const Tensor& stack, int matrix, int64_t experts, int64_t expert) {
  Tensor one = stack;
  one.rows = stack.rows / experts;
  const ExpertPlaces* const places = places_of(run);
  one.data = const_cast<std::byte*>(places != nullptr ? places->matrices[matrix][expert]
                                                      : all.place(stack, expert * one.rows));
  return one;
}

// Where the next expert that has rows begins, which is read after the last rows of this one.
template <class Sums>
const std::byte* next_expert(const OpRun& run, const Sums& all, const Tensor& stack, int matrix,
                             const ExpertPairs& pairs, int64_t expert) {
  const int64_t next = pairs.after(expert);
  const Tensor its = one_expert(run, all, stack, matrix, pairs.experts(), pairs.count(next) > 0 ? next : expert);
  return its.data;
}

// Calls unit(expert, first weight row, first sorted pair, pairs) for this member's units: all of an expert's weight
// rows for a block of pairs, then its next block, then the next expert.
template <class Unit>
void for_expert_units(const ExpertPairs& pairs, int64_t weight_rows, int64_t rows_of_unit, int64_t block, Team& team,
                      Unit&& unit) {
  const int64_t across = ceil_div(weight_rows, rows_of_unit);
  int64_t blocks = 0;
  for (int64_t e = 0; e < pairs.experts(); ++e) blocks += ceil_div(pairs.count(e), block);
  int64_t expert = 0, before = 0;  // blocks of the experts before it; a member's units come in order
  team.share_out(blocks * across, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      while (before + ceil_div(pairs.count(expert), block) <= i / across) {
        before += ceil_div(pairs.count(expert), block);
        ++expert;
      }
      const int64_t first = (i / across - before) * block;
      unit(expert, i % across * rows_of_unit, pairs.first(expert) + first, smaller(block, pairs.count(expert) - first));
    }
  });
}

template <class Sums>
void expert_gate_up_with(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &gate = run.inputs[1], &up = run.inputs[2], &ids = run.inputs[3];
  const auto experts = static_cast<int64_t>(run.attributes[0]);
  const ExpertPairs pairs(ids, experts, run.scratch + team.thread() * ExpertPairs::bytes(ids, experts), places_of(run));
  const Tensor y = rows_of_pairs(run.outputs[0], ids.columns);
  for (int64_t pair = team.thread(); pair < y.rows; pair += team.threads())
    if (!pairs.has_expert(pair)) std::memset(y.row<std::byte>(pair), 0, static_cast<size_t>(y.stride));
  Sums all(x);
  const int64_t block = block_of_rows(x.stride, row_block);
  const int64_t most = smaller(pairs.most(), block), columns = gate.rows / experts;
  GatedBlock unit(Sums::pairs(most) ? gated_columns : columns_of_unit(pairs.used() * columns, most, team.threads()),
                  static_cast<int>(run.attributes[1]));
  for_expert_units(
      pairs, columns, unit.columns(), block, team, [&](int64_t e, int64_t n, int64_t first, int64_t count) {
        const Tensor its_gate = one_expert(run, all, gate, 0, experts, e);
        const Tensor its_up = one_expert(run, all, up, 1, experts, e);
        // An expert's last unit is followed by the first of the next one that has rows.
        const std::byte* const next = n + unit.columns() < columns ? all.place(its_gate, n + unit.columns())
                                                                   : next_expert(run, all, gate, 0, pairs, e);
        unit.multiply(all, its_gate, its_up, n, next, {first, count, pairs.rows()}, Sums::pairs(count));
        unit.finish(y, n, {first, count, pairs.list()});
      });
}

template <class Sums>
void expert_down_with(const OpRun& run, Team& team) {
  const Tensor &weight = run.inputs[1], &ids = run.inputs[2], &y = run.outputs[0];
  const auto experts = static_cast<int64_t>(run.attributes[0]);
  const ExpertPairs pairs(
      ids, experts, run.scratch + expert_products_bytes(ids, y) + team.thread() * ExpertPairs::bytes(ids, experts),
      places_of(run));
  float* const products = reinterpret_cast<float*>(run.scratch);  // [pairs, out]
  const Tensor x = rows_of_pairs(run.inputs[0], ids.columns);
  Sums all(x);
  alignas(64) BlockSums sums[2];
  const int64_t block = block_of_rows(x.stride, row_block), out = y.columns;
  const int64_t step = Sums::pairs(smaller(pairs.most(), block)) ? 2 * lanes : lanes;
  for_expert_units(pairs, out, step, block, team, [&](int64_t e, int64_t n, int64_t first, int64_t count) {
    const Tensor matrix = one_expert(run, all, weight, 2, experts, e);
    const BatchRows batch = {first, count, pairs.list()};
    const auto follows = [&](int64_t at) {
      return at < out ? all.place(matrix, at) : next_expert(run, all, weight, 2, pairs, e);
    };
    const auto keep = [&](int64_t at, const BlockSums& from) {
      const auto size = static_cast<size_t>(smaller(lanes, out - at)) * sizeof(float);
      for (int64_t r = 0; r < count; ++r) std::memcpy(products + batch[r] * out + at, from[r], size);
    };
    if (Sums::pairs(count) && n + lanes < out) {
      const WeightRows parts[2] = {{&matrix, n, follows(n + 2 * lanes)}, {&matrix, n + lanes, follows(n + 3 * lanes)}};
      all.two(parts, batch, sums);
      for (int p = 0; p < 2; ++p) keep(n + p * lanes, sums[p]);
      return;
    }
    for (int64_t at = n; at < smaller(n + step, out); at += lanes) {
      all.one({&matrix, at, follows(at + lanes)}, batch, sums[0]);
      keep(at, sums[0]);
    }
  });
  if (const ExpertPlaces* const places = places_of(run); places != nullptr && !places->last) return;
  team.barrier();
  add_weighted(run, pairs, products, team);
}

}  // namespace vivace::VIVACE_ISA
