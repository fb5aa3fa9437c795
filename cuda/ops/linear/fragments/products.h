// The kernel for weights in fragments (cuda/quant/fragments.h): every warp has a strip of 16 rows of the weight, a
// block 8, 4 or 2 strips and a tile of 8 · NT rows of x.
//
// A stage is a unit of 128 columns: cp.async brings each warp's unit and the block's tile of x into a ring. A lane's
// loads of 16 bytes are whole operands; codes become f16 in registers.
//
// The order of sums is that of columns in every tile, block and split, so the bits of a row are the same in every
// batch: a product over the columns of one scale begins at zero; parts times their scales are added within a slice of
// 1024 columns, slices to the whole. A block has one slice (`split`) or all of them. Of a split tile the block that
// comes last adds the slices in their order.
#pragma once
#include "cuda/core/launch.h"
#include "cuda/core/mma.h"
#include "cuda/ops/linear/fragments/activations.h"
#include "cuda/ops/linear/fragments/codes.h"
#include "cuda/ops/linear/fragments/totals.h"

namespace vivace::cuda {

template <class Codes, int NT, int warps, bool halved>
struct FragmentStage {
  static constexpr int rows = 8 * NT;
  static constexpr int row_bytes = 2 * FragmentLayout::columns + 64;  // rows g and g + 1 lie in different banks
  static constexpr int unit = Codes::layout().unit_bytes();
  static constexpr int x = warps * unit, scales = x + rows * row_bytes, bytes = scales + (4 * rows + 15) / 16 * 16;
  static constexpr int room = 99 * 1024;  // what a block of compute capability 8.6 may have
  static constexpr int stages = room / bytes < 5 ? room / bytes : 5;
  static_assert(stages >= 3);
};

// Adds a unit that lies in shared memory; `header` are the words of whole rows.
template <class Codes, int NT>
__device__ inline void add_unit(const Shared<uint8_t>& unit, const Shared<uint8_t>& x, const Shared<uint8_t>& scales,
                                const GroupWords& header, int row_bytes, WarpSums<NT>& sums) {
  constexpr int parts = FragmentLayout::columns / Codes::part;
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  uint32_t codes[Codes::words];
  UNROLL
  for (int i = 0; i < Codes::words / 4; ++i) {
    const uint4 four = load_as<uint4>(unit, static_cast<size_t>(512 * i + 16 * lane));
    codes[4 * i] = four.x, codes[4 * i + 1] = four.y, codes[4 * i + 2] = four.z, codes[4 * i + 3] = four.w;
  }
  UNROLL
  for (int p = 0; p < parts; ++p) {
    GroupWords words = header;
    if constexpr (Codes::layout().group != 0) UNROLL
    for (int half = 0; half < 2; ++half)
      words.words[half] =
          load_as<uint32_t>(unit, static_cast<size_t>(Codes::layout().code_bytes() + 64 * p + 4 * (g + 8 * half)));
    WarpSums<NT> part;
    UNROLL
    for (int j = p * Codes::part / 32; j < (p + 1) * Codes::part / 32; ++j) {
      uint32_t weights[2][4];
      Codes::operands(codes, j, words, weights);
      UNROLL
      for (int n = 0; n < NT; ++n) {
        const uint4 b = load_as<uint4>(x, static_cast<size_t>((8 * n + g) * row_bytes + 64 * j + 16 * t));
        const uint32_t first[2] = {b.x, b.y}, second[2] = {b.z, b.w};
        multiply_f16(part.values[n], weights[0], first);
        multiply_f16(part.values[n], weights[1], second);
      }
    }
    UNROLL
    for (int n = 0; n < NT; ++n) {
      const float2 of_x = load_as<float2>(scales, static_cast<size_t>(4 * (8 * n + 2 * t)));
      UNROLL
      for (int i = 0; i < 4; ++i)
        sums.values[n][i] =
            fmaf(words.scale(i / 2) * (i % 2 == 0 ? of_x.x : of_x.y), part.values[n][i], sums.values[n][i]);
    }
  }
}

template <class Codes, int NT, int warps, bool halved>
__global__ void __launch_bounds__(32 * warps, 1) multiply_fragments(LinearArguments a, FragmentPlan plan) {
  using Stage = FragmentStage<Codes, NT, warps, halved>;
  constexpr int threads = 32 * warps, stages = Stage::stages;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32, g = lane / 4;
  const int batch = static_cast<int>(blockIdx.y) * Stage::rows;
  const OwnStrip<warps> own(a);
  const int strip = min(own.number, own.last());
  const int units = static_cast<int>(Codes::layout().units(a.columns)),
            padded = static_cast<int>(gridDim.y) * Stage::rows;
  const int from = plan.split ? static_cast<int>(blockIdx.z) * slice_units : 0;
  const int end = plan.split ? min(from + slice_units, units) : units;
  const uint8_t* weight = own.target.weight + strip * Codes::layout().strip_bytes(a.columns);
  GroupWords header = {};
  if constexpr (Codes::layout().group == 0) {
    header.words[0] = load_as<uint32_t>(weight, static_cast<size_t>(4 * g));
    header.words[1] = load_as<uint32_t>(weight, static_cast<size_t>(4 * (g + 8)));
    weight += Codes::layout().header();
  }
  const auto ring = dynamic_shared<uint8_t>(0, stages * Stage::bytes);
  const auto following = [](int slot) {
    return slot + Stage::bytes == stages * Stage::bytes ? 0 : slot + Stage::bytes;
  };

  // Units in their order. What a thread copies has the same place in each, so that a unit costs a few additions.
  const uint8_t* next_weight = weight + int64_t{from} * Stage::unit + 16 * lane;
  const int64_t first = int64_t{from} * padded + batch;
  const uint8_t* next_x = a.scratch + first * (2 * FragmentLayout::columns) + 16 * thread;
  const uint8_t* next_scales = a.scratch + plan.scale_offset + first * 4 + 16 * thread;
  int filled = 0;
  const auto copy_unit = [&] {
    const auto stage = ring + filled;
    UNROLL
    for (int i = 0; i < Stage::unit / 16; i += 32)
      if (lane + i < Stage::unit / 16)
        copy_async<16>(stage, static_cast<size_t>(warp * Stage::unit + 16 * (lane + i)), next_weight + 16 * i);
    next_weight += Stage::unit;
    filled = following(filled);
    if constexpr (halved) {
      UNROLL
      for (int i = 0; i < Stage::rows * 16; i += threads)
        if (thread + i < Stage::rows * 16)
          copy_async<16>(stage,
                         static_cast<size_t>(Stage::x + (thread + i) / 16 * Stage::row_bytes + (thread + i) % 16 * 16),
                         next_x + 16 * i);
      if (thread < Stage::rows / 4)
        copy_async<16>(stage, static_cast<size_t>(Stage::scales + 16 * thread), next_scales);
      next_x += int64_t{padded} * (2 * FragmentLayout::columns);
      next_scales += int64_t{padded} * 4;
    }
  };
  // Without scratch memory: a warp's rows of x wait in registers for the next stage.
  constexpr int own_rows = halved ? 1 : Stage::rows / warps;
  float4 held[own_rows];
  const auto load = [&](int unit) {
    UNROLL
    for (int i = 0; i < own_rows; ++i) held[i] = load_x(a, batch + warp + warps * i, unit);
  };
  const auto store = [&](int slot) {
    const auto stage = ring + slot;
    UNROLL
    for (int i = 0; i < own_rows; ++i) {
      const int row = warp + warps * i;
      const HalvedX x = halve_x(held[i]);
      store_as(stage, static_cast<size_t>(Stage::x + row * Stage::row_bytes + 8 * lane), x.values);
      if (lane == 0) store_as(stage, static_cast<size_t>(Stage::scales + 4 * row), x.scale);
    }
  };

  for (int i = 0; i < stages - 1; ++i) {
    if (from + i < end) copy_unit();
    commit_copies();
  }
  if constexpr (!halved) {
    load(from);
    store(0);
  }
  WarpSums<NT> sums, total;
  int slot = 0;
  for (int unit = from; unit < end; ++unit) {
    if constexpr (!halved)
      if (unit + 1 < end) load(unit + 1);
    wait_copies<stages - 2>();
    __syncthreads();  // the stage is there, and nobody reads the one that is filled next
    if (unit + stages - 1 < end) copy_unit();
    commit_copies();
    const auto stage = ring + slot;
    add_unit<Codes, NT>(stage + warp * Stage::unit, stage + Stage::x, stage + Stage::scales, header, Stage::row_bytes,
                        sums);
    if ((unit + 1) % slice_units == 0 || unit + 1 == end) {
      total.add(sums);
      sums.clear();
    }
    slot = following(slot);
    if constexpr (!halved)
      if (unit + 1 < end) store(slot);
  }

  if (plan.split && !add_slices(a, plan, total)) return;
  store_totals<NT, warps>(a, total, own, batch);
}

template <class Codes, int NT, int warps, bool halved>
void launch_fragments(const LinearArguments& a, const FragmentPlan& plan, cudaStream_t stream) {
  using Stage = FragmentStage<Codes, NT, warps, halved>;
  const auto over = [](int64_t count, int size) { return static_cast<unsigned>((count + size - 1) / size); };
  constexpr size_t shared = Stage::stages * Stage::bytes;
  const dim3 grid(fragment_blocks<warps>(a), over(a.rows, Stage::rows),
                  plan.split ? static_cast<unsigned>(plan.slices) : 1u);
  launch<multiply_fragments<Codes, NT, warps, halved>>(Launch{grid, dim3(32 * warps), shared, stream}, a, plan);
}

template <class Codes>
void run_fragments(const LinearArguments& a, const FragmentPlan& plan, cudaStream_t stream) {
  const auto start = [&]<int NT, bool halved>() {
    if (plan.warps == 2)
      launch_fragments<Codes, NT, 2, halved>(a, plan, stream);
    else
      launch_fragments<Codes, NT, wide_block(Codes::layout().bits), halved>(a, plan, stream);
  };
  if (!plan.halved)
    start.template operator()<1, false>();
  else if (plan.tiles == 2)
    start.template operator()<2, true>();
  else if (plan.tiles == 4)
    start.template operator()<4, true>();
  else
    start.template operator()<8, true>();
}

}  // namespace vivace::cuda
