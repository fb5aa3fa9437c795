// The kernel for GGUF's types in fragments (cuda/quant/block_fragments.h): cut as the one of products.h, a warp to a
// strip of 16 rows of the weight, a block 8, 4 or 2 strips and a tile of 8 · NT rows of x.
//
// x is A8: products of 32 columns (16 where a scale belongs to so many) are whole numbers, exact; the scales of both
// sides follow in float, in the order of columns. A stage is a unit of 128 columns: each warp's unit, codes of the
// block's rows of x, and of every 32 columns their scales (and, where the weight has minimums, their scaled sums) side
// by side, so that a lane gets those of its two rows at once.
#pragma once
#include "cuda/core/launch.h"
#include "cuda/core/mma.h"
#include "cuda/ops/linear/fragments/block_codes.h"
#include "cuda/ops/linear/fragments/totals.h"
#include "ops/linear/a8.h"

namespace vivace::cuda {

inline constexpr int unit_blocks = BlockLayout::columns / 32;

template <class Codes, int NT, int warps>
struct BlockStage {
  static constexpr int rows = 8 * NT;
  // A lane reads 8 bytes of a row, four rows at a time, or 4 bytes of eight: they lie in different banks.
  static constexpr int row_bytes = BlockLayout::columns + (Codes::layout().halves ? 16 : 32);
  static constexpr int unit = Codes::layout().largest_unit();
  static constexpr int x = warps * unit, scales = x + rows * row_bytes, sums = scales + 4 * unit_blocks * rows;
  static constexpr int parts = Codes::layout().halves ? 2 : 1;                   // scales of 32 columns
  static constexpr int sum_bytes = Codes::has_min ? 4 * unit_blocks * rows : 0;  // of a part
  static constexpr int bytes = sums + parts * sum_bytes;
  static constexpr int room = 99 * 1024;  // what a block of compute capability 8.6 may have
  static constexpr int stages = room / bytes < 5 ? room / bytes : 5;
  static_assert(stages >= 3 && unit % 16 == 0);
};

// Adds a unit that lies in shared memory.
template <class Codes, int NT, class Stage>
__device__ inline void add_block_unit(const Shared<uint8_t>& stage, const Shared<uint8_t>& unit, bool odd,
                                      typename Codes::Scales& scales, WarpSums<NT>& sums) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  scales.load(unit, odd);
  const int begin = Codes::layout().scale_bytes(odd ? 1 : 0);
  uint32_t codes[Codes::words];
  UNROLL
  for (int i = 0; i < Codes::words / 4; ++i) {
    const uint4 four = load_as<uint4>(unit, static_cast<size_t>(begin + 512 * i + 16 * lane));
    codes[4 * i] = four.x, codes[4 * i + 1] = four.y, codes[4 * i + 2] = four.z, codes[4 * i + 3] = four.w;
  }
  if constexpr (Codes::words % 4 == 2) {
    const uint2 two = load_as<uint2>(unit, static_cast<size_t>(begin + 512 * (Codes::words / 4) + 8 * lane));
    codes[Codes::words - 2] = two.x, codes[Codes::words - 1] = two.y;
  }
  UNROLL
  for (int j = 0; j < unit_blocks; ++j) {
    uint32_t weights[4];
    Codes::operand(codes, j, weights);
    constexpr int parts = Stage::parts;
    float scale[parts][2], min[parts][2] = {};
    UNROLL
    for (int p = 0; p < parts; ++p) UNROLL
    for (int half = 0; half < 2; ++half) {
      scale[p][half] = scales.scale(half, parts * j + p);
      if constexpr (Codes::has_min) min[p][half] = scales.min(half, parts * j + p);
    }
    UNROLL
    for (int n = 0; n < NT; ++n) {
      const auto pair = static_cast<size_t>(4 * (j * Stage::rows + 8 * n + 2 * t));
      const float2 of_x = load_as<float2>(stage, Stage::scales + pair);
      const auto columns_of_x = static_cast<size_t>(Stage::x + (8 * n + g) * Stage::row_bytes + 32 * j);
      UNROLL
      for (int p = 0; p < parts; ++p) {
        int dots[4] = {Codes::base, Codes::base, Codes::base, Codes::base};
        if constexpr (parts == 2) {
          const uint32_t half[2] = {weights[2 * p], weights[2 * p + 1]};
          multiply_s8(dots, half, load_as<uint32_t>(stage, columns_of_x + static_cast<size_t>(16 * p + 4 * t)));
        } else {
          const uint2 b = load_as<uint2>(stage, columns_of_x + static_cast<size_t>(8 * t));
          const uint32_t both[2] = {b.x, b.y};
          multiply_s8(dots, weights, both);
        }
        UNROLL
        for (int i = 0; i < 4; ++i)
          sums.values[n][i] = fmaf(__int_as_float(dots[i]) - __int_as_float(Codes::base),
                                   scale[p][i / 2] * (i % 2 == 0 ? of_x.x : of_x.y), sums.values[n][i]);
        if constexpr (Codes::has_min) {
          const float2 sum = load_as<float2>(stage, static_cast<size_t>(Stage::sums + p * Stage::sum_bytes) + pair);
          UNROLL
          for (int i = 0; i < 4; ++i)
            sums.values[n][i] = fmaf(min[p][i / 2], i % 2 == 0 ? sum.x : sum.y, sums.values[n][i]);
        }
      }
    }
  }
}

// Brings units into the ring, in their order. What a thread copies has the same place in every unit, so a unit costs a
// few additions: with one row of x these instructions would be more than those of the products otherwise.
template <class Codes, int NT, int warps>
struct BlockCopies {
  using Stage = BlockStage<Codes, NT, warps>;
  static constexpr int threads = 32 * warps, rows = Stage::rows;
  static constexpr int row_pieces = 2 * unit_blocks;  // of 16 bytes: the codes of a row
  static constexpr int block_bytes = static_cast<int>(sizeof(A8Block));

  const uint8_t *weight, *codes, *scales;  // where this thread's first pieces of the next unit are
  int64_t x_stride;
  int live;  // rows of x that there are
  int left;  // blocks of 32 columns from the next unit on
  int slot = 0;

  __device__ BlockCopies(const LinearArguments& a, const uint8_t* strip, int batch, int unit)
      : x_stride(a.x_stride), live(a.rows - batch), left(a.columns / 32 - unit * unit_blocks) {
    const uint8_t* x = a.x + batch * x_stride + int64_t{unit} * unit_blocks * block_bytes;
    const int thread = static_cast<int>(threadIdx.x);
    weight = strip + Codes::layout().place(unit) + thread % 32 * 16;
    codes = x + thread / row_pieces * x_stride + thread % row_pieces / 2 * block_bytes + offsetof(A8Block, codes) +
            thread % 2 * 16;
    scales = x + last() % rows * x_stride + last() / rows * block_bytes;
  }
  // Scales are for the last threads: the first ones have codes, of few rows not even all of them.
  __device__ static int last() { return threads - 1 - static_cast<int>(threadIdx.x); }

  __device__ void next(const Shared<uint8_t>& ring, bool odd) {
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
    const auto stage = ring + slot;
    constexpr int most = Stage::unit / 16;
    const int chunks = (Codes::layout().scale_bytes(odd ? 1 : 0) + Codes::layout().code_bytes()) / 16;
    UNROLL
    for (int i = 0; i < most; i += 32)
      if (lane + i < chunks)
        copy_async<16>(stage, static_cast<size_t>(thread / 32 * Stage::unit + 16 * (lane + i)), weight + 16 * i);
    UNROLL
    for (int i = 0; i < rows * row_pieces; i += threads) {
      if (thread + i >= rows * row_pieces) continue;
      const int row = thread / row_pieces, more = i / row_pieces;
      copy_async<16>(stage, static_cast<size_t>(Stage::x + (row + more) * Stage::row_bytes + thread % row_pieces * 16),
                     codes + more * x_stride, row + more < live && thread % row_pieces / 2 < left);
    }
    UNROLL
    for (int i = 0; i < rows * unit_blocks; i += threads) {
      if (last() + i >= rows * unit_blocks) continue;
      const bool there = last() % rows < live && (last() + i) / rows < left;
      const uint8_t* block = scales + i / rows * block_bytes;
      copy_async<4>(stage, static_cast<size_t>(Stage::scales + 4 * (last() + i)), block, there);
      if constexpr (Codes::has_min) UNROLL
      for (int p = 0; p < Stage::parts; ++p)
        copy_async<4>(stage, static_cast<size_t>(Stage::sums + p * Stage::sum_bytes + 4 * (last() + i)),
                      block + offsetof(A8Block, scaled_sums) + 4 * (Stage::parts == 2 ? p : A8Block::all), there);
    }
    weight += 16 * chunks;
    codes += unit_blocks * block_bytes;
    scales += unit_blocks * block_bytes;
    left -= unit_blocks;
    slot = following(slot);
  }
  __device__ static int following(int slot) {
    return slot + Stage::bytes == Stage::stages * Stage::bytes ? 0 : slot + Stage::bytes;
  }
};

template <class Codes, int NT, int warps>
__global__ void __launch_bounds__(32 * warps, 1) multiply_block_fragments(LinearArguments a, FragmentPlan plan) {
  using Stage = BlockStage<Codes, NT, warps>;
  constexpr BlockLayout layout = Codes::layout();
  constexpr int stages = Stage::stages;
  const int warp = static_cast<int>(threadIdx.x / 32), batch = static_cast<int>(blockIdx.y) * Stage::rows;
  const OwnStrip<warps> own(a);
  const int strip = min(own.number, own.last());
  const int units = static_cast<int>(layout.units(a.columns));
  const int from = plan.split ? static_cast<int>(blockIdx.z) * slice_units : 0;
  const int end = plan.split ? min(from + slice_units, units) : units;
  const auto ring = dynamic_shared<uint8_t>(0, stages * Stage::bytes);

  BlockCopies<Codes, NT, warps> copies(a, own.target.weight + strip * layout.strip_bytes(a.columns), batch, from);
  for (int i = 0; i < stages - 1; ++i) {
    if (from + i < end) copies.next(ring, i % 2 == 1);  // slices begin with even units
    commit_copies();
  }
  typename Codes::Scales scales;
  WarpSums<NT> sums, total;
  int slot = 0;
  for (int unit = from; unit < end; ++unit) {
    wait_copies<stages - 2>();
    __syncthreads();  // the stage is there, and nobody reads the one that is filled next
    if (unit + stages - 1 < end) copies.next(ring, (unit + stages - 1) % 2 == 1);
    commit_copies();
    const auto stage = ring + slot;
    add_block_unit<Codes, NT, Stage>(stage, stage + warp * Stage::unit, unit % 2 == 1, scales, sums);
    slot = copies.following(slot);
    if ((unit + 1) % slice_units == 0 || unit + 1 == end) {
      total.add(sums);
      sums.clear();
    }
  }
  if (plan.split && !add_slices(a, plan, total)) return;
  store_totals<NT, warps>(a, total, own, batch);
}

template <class Codes, int NT, int warps>
void launch_block_fragments(const LinearArguments& a, const FragmentPlan& plan, cudaStream_t stream) {
  using Stage = BlockStage<Codes, NT, warps>;
  const auto over = [](int64_t count, int size) { return static_cast<unsigned>((count + size - 1) / size); };
  const dim3 grid(fragment_blocks<warps>(a), over(a.rows, Stage::rows),
                  plan.split ? static_cast<unsigned>(plan.slices) : 1u);
  launch<multiply_block_fragments<Codes, NT, warps>>(
      Launch{grid, dim3(32 * warps), static_cast<size_t>(Stage::stages) * Stage::bytes, stream}, a, plan);
}

}  // namespace vivace::cuda
