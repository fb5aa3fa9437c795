// What a family of quantised types gives to `linear`, `gated_linear`, the ops of experts and `pack_panels`, for files
// compiled per level.
// Each family is a file of its own, so that compilers work on several at once.
#pragma once
#include "ops/linear/families/experts.h"
#include "ops/linear/families/gated.h"
#include "ops/linear/families/pack.h"
#include "ops/linear/families/sums.h"

namespace vivace::VIVACE_ISA {

struct LinearBodies {
  Kernel linear, gated, pack, expert_gate_up, expert_down;
};

// Null bodies for types of other families.
LinearBodies bodies_of_4_bits(DType dtype);
LinearBodies bodies_of_5_and_8_bits(DType dtype);
LinearBodies bodies_of_k_4_and_5(DType dtype);
LinearBodies bodies_of_k_2_3_and_6(DType dtype);

template <class Sums>
void linear_with(const OpRun& run, Team& team) {
  const Tensor& weight = run.inputs[1];
  Sums all(run.inputs[0]);
  alignas(64) BlockSums sums[2];
  const int64_t block = block_of_rows(run.inputs[0].stride, row_block);
  const auto write = [&](int64_t n, const BatchRows& batch, const BlockSums& from) {
    const int64_t count = smaller(lanes, weight.rows - n);
    for (int64_t row = 0; row < batch.count; ++row) finish(run, batch.first + row, n, count, from[row]);
  };
  const auto one = [&](int64_t n, int64_t first, int64_t rows) {
    all.one({&weight, n, all.place(weight, n + lanes)}, {first, rows}, sums[0]);
    write(n, {first, rows}, sums[0]);
  };
  if (!Sums::pairs(run.outputs[0].rows)) return for_units(run, team, lanes, block, one);
  for_units(run, team, 2 * lanes, block, [&](int64_t n, int64_t first, int64_t rows) {
    if (n + lanes >= weight.rows) return one(n, first, rows);
    const WeightRows parts[2] = {{&weight, n, all.place(weight, n + 2 * lanes)},
                                 {&weight, n + lanes, all.place(weight, n + 3 * lanes)}};
    all.two(parts, {first, rows}, sums);
    for (int p = 0; p < 2; ++p) write(n + p * lanes, {first, rows}, sums[p]);
  });
}

template <class Codec>
void quantised_linear(const OpRun& run, Team& team) {
  if (run.inputs[1].panels)
    linear_with<PanelSums<Codec>>(run, team);
  else
    linear_with<FileSums<Codec>>(run, team);
}

template <class Codec>
void quantised_gated(const OpRun& run, Team& team) {
  if (run.inputs[1].panels)  // then the other one, too
    gated_with<PanelSums<Codec>>(run, team);
  else
    gated_with<FileSums<Codec>>(run, team);
}

template <class Codec>
void quantised_expert_gate_up(const OpRun& run, Team& team) {
  if (run.inputs[1].panels)
    expert_gate_up_with<PanelSums<Codec>>(run, team);
  else
    expert_gate_up_with<FileSums<Codec>>(run, team);
}

template <class Codec>
void quantised_expert_down(const OpRun& run, Team& team) {
  if (run.inputs[1].panels)
    expert_down_with<PanelSums<Codec>>(run, team);
  else
    expert_down_with<FileSums<Codec>>(run, team);
}

template <class Codec>
constexpr LinearBodies bodies() {
  return {quantised_linear<Codec>, quantised_gated<Codec>, pack<Codec>, quantised_expert_gate_up<Codec>,
          quantised_expert_down<Codec>};
}

}  // namespace vivace::VIVACE_ISA
