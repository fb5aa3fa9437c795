// Products of tiles of pairs with their expert's matrix in fragments: the body of cuda/ops/linear/fragments, with rows
// of x that are fetched one by one. The bits are those of linear and gated_linear with the expert's own matrices.
//
// A block has a tile of 8 · NT pairs and a warp to a strip of 16 rows of the matrix; with a gate the second half of its
// warps has the same strips of the other one.
#pragma once
#include "cuda/core/launch.h"
#include "cuda/ops/experts/arguments.h"
#include "cuda/ops/linear/fragments/block_products.h"

namespace vivace::cuda {

// Brings units into the ring, in their order, as BlockCopies does.
template <class Codes, int NT, int warps>
struct ExpertCopies {
  using Stage = BlockStage<Codes, NT, warps>;
  static constexpr int threads = 32 * warps, rows = Stage::rows, row_pieces = 2 * unit_blocks;
  static constexpr int block_bytes = static_cast<int>(sizeof(A8Block));
  static constexpr int code_copies = (rows * row_pieces + threads - 1) / threads;
  static constexpr int scale_copies = (rows * unit_blocks + threads - 1) / threads;

  const uint8_t* weight;
  const uint8_t *codes[code_copies], *scales[scale_copies];  // of this thread's pieces in the next unit; null: none
  int left;                                                  // blocks of 32 columns from the next unit on
  int slot = 0;

  __device__ ExpertCopies(const ExpertProducts& a, const uint8_t* strip, const Shared<int>& own)
      : weight(strip + static_cast<int>(threadIdx.x % 32) * 16), left(a.columns / 32) {
    const int thread = static_cast<int>(threadIdx.x);
    const auto row_of = [&](int place, bool within) -> const uint8_t* {
      const int pair = within ? static_cast<int>(own[place]) : -1;
      return pair < 0 ? nullptr : a.x + pair / a.x_pairs * a.x_stride;
    };
    UNROLL
    for (int i = 0; i < code_copies; ++i) {
      const int place = thread / row_pieces + i * (threads / row_pieces);
      codes[i] = row_of(place, place < rows);
      if (codes[i] != nullptr)
        codes[i] += thread % row_pieces / 2 * block_bytes + offsetof(A8Block, codes) + thread % 2 * 16;
    }
    UNROLL
    for (int i = 0; i < scale_copies; ++i) {
      const int at = last() + i * threads;
      scales[i] = row_of(at % rows, at < rows * unit_blocks);
      if (scales[i] != nullptr) scales[i] += at / rows * block_bytes;
    }
  }
  // Scales are for the last threads: the first ones have codes.
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
    for (int i = 0; i < code_copies; ++i) {
      const int place = thread / row_pieces + i * (threads / row_pieces);
      if (place >= rows) continue;
      const bool there = codes[i] != nullptr && thread % row_pieces / 2 < left;
      copy_async<16>(stage, static_cast<size_t>(Stage::x + place * Stage::row_bytes + thread % row_pieces * 16),
                     there ? codes[i] : a_place(weight), there);
      if (codes[i] != nullptr) codes[i] += unit_blocks * block_bytes;
    }
    UNROLL
    for (int i = 0; i < scale_copies; ++i) {
      const int at = last() + i * threads;
      if (at >= rows * unit_blocks) continue;
      const bool there = scales[i] != nullptr && at / rows < left;
      const uint8_t* block = there ? scales[i] : a_place(weight);
      copy_async<4>(stage, static_cast<size_t>(Stage::scales + 4 * at), block, there);
      if constexpr (Codes::has_min) UNROLL
      for (int p = 0; p < Stage::parts; ++p)
        copy_async<4>(stage, static_cast<size_t>(Stage::sums + p * Stage::sum_bytes + 4 * at),
                      block + offsetof(A8Block, scaled_sums) + 4 * (Stage::parts == 2 ? p : A8Block::all), there);
      if (scales[i] != nullptr) scales[i] += unit_blocks * block_bytes;
    }
    weight += 16 * chunks;
    left -= unit_blocks;
    slot = following(slot);
  }
  // Nothing is read from it: a copy of nothing wants an address all the same.
  __device__ static const uint8_t* a_place(const uint8_t* any) { return any; }
  __device__ static int following(int slot) {
    return slot + Stage::bytes == Stage::stages * Stage::bytes ? 0 : slot + Stage::bytes;
  }
};

// A gate's sums meet those of the other matrix, as in store_gated.
template <int NT, int warps>
__device__ inline void store_gated_pairs(const ExpertProducts& a, const WarpSums<NT>& total,
                                         const Shared<float>& memory, const Shared<int>& own) {
  constexpr int strips = warps / 2, width = 16 * strips, stride = width + 4;
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32), g = lane / 4;
  const int strip = warp % strips, first = static_cast<int>(blockIdx.x) * width, t = lane % 4;
  const auto row_of = [&](int n, int i) { return 8 * n + 2 * t + i % 2; };
  const auto place = [&](int n, int i) { return row_of(n, i) * stride + 16 * strip + g + i / 2 * 8; };
  wait_copies<0>();
  __syncthreads();  // nobody reads the ring any more
  if (warp >= strips) UNROLL
  for (int n = 0; n < NT; ++n) UNROLL
  for (int i = 0; i < 4; ++i) memory[place(n, i)] = total.values[n][i];
  __syncthreads();
  if (warp < strips) UNROLL
  for (int n = 0; n < NT; ++n) UNROLL
  for (int i = 0; i < 4; ++i) memory[place(n, i)] = a.gated(total.values[n][i], memory[place(n, i)]);
  __syncthreads();
  static_assert(strips % 2 == 0);
  // A warp takes 32 values of a pair at a time.
  for (int i = warp; i < 8 * NT * strips / 2; i += warps) {
    const int row = i / (strips / 2), at = i % (strips / 2) * 32, pair = own[row];
    if (pair < 0 || first + at >= a.out) continue;
    const int64_t begin = static_cast<int64_t>(pair) * a.out + first + at;
    if (a.codes != nullptr)
      quantize_block(memory[row * stride + at + lane], a.codes + begin / 32);
    else if (first + at + lane < a.out)
      a.y[begin + lane] = memory[row * stride + at + lane];
  }
}

// Pairs of no expert.
template <int NT>
__device__ inline void clear_pairs(const ExpertProducts& a, const Shared<int>& own, int first, int width) {
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  for (int row = warp; row < 8 * NT; row += static_cast<int>(blockDim.x / 32)) {
    const int pair = own[row];
    if (pair < 0) continue;
    for (int at = first; at < first + width && at < a.out; at += 32) {
      const int64_t begin = static_cast<int64_t>(pair) * a.out + at;
      if (a.codes != nullptr)
        quantize_block(0, a.codes + begin / 32);
      else if (at + lane < first + width && at + lane < a.out)
        a.y[begin + lane] = 0;
    }
  }
}

template <class Codes, int NT, int warps>
struct ExpertBlock {
  using Stage = BlockStage<Codes, NT, warps>;
  static constexpr int ring = Stage::stages * Stage::bytes;
  static constexpr int gated = 8 * NT * (16 * (warps / 2) + 4) * 4;
  static constexpr int bytes = ring + 4 * Stage::rows;  // and the tile's pairs
  static_assert(gated <= ring && bytes <= 99 * 1024);
};

template <class Codes, int NT, int warps>
__global__ void __launch_bounds__(32 * warps, 1) multiply_experts(ExpertProducts a) {
  using Block = ExpertBlock<Codes, NT, warps>;
  using Stage = typename Block::Stage;
  constexpr BlockLayout layout = Codes::layout();
  constexpr int stages = Stage::stages;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const auto own = dynamic_shared<int>(Block::ring, static_cast<size_t>(Stage::rows));
  const int expert = find_tile<Stage::rows>(a.tiles, own);
  if (expert < 0) return;
  const int count = a.up != nullptr ? warps / 2 : warps;  // strips of the block
  if (expert == a.tiles.experts) {
    clear_pairs<NT>(a, own, static_cast<int>(blockIdx.x) * 16 * count, 16 * count);
    return;
  }
  const uint8_t* matrix = (warp >= count ? a.up : a.weight) + expert * a.expert_bytes;
  const int number = static_cast<int>(blockIdx.x) * count + warp % count;
  const int strip = min(number, a.out / 16 - 1), units = static_cast<int>(layout.units(a.columns));
  const auto ring = dynamic_shared<uint8_t>(0, Block::ring);

  ExpertCopies<Codes, NT, warps> copies(a, matrix + strip * layout.strip_bytes(a.columns), own);
  for (int i = 0; i < stages - 1; ++i) {
    if (i < units) copies.next(ring, i % 2 == 1);
    commit_copies();
  }
  typename Codes::Scales scales;
  WarpSums<NT> sums, total;
  int slot = 0;
  for (int unit = 0; unit < units; ++unit) {
    wait_copies<stages - 2>();
    __syncthreads();  // the stage is there, and nobody reads the one that is filled next
    if (unit + stages - 1 < units) copies.next(ring, (unit + stages - 1) % 2 == 1);
    commit_copies();
    const auto stage = ring + slot;
    add_block_unit<Codes, NT, Stage>(stage, stage + warp * Stage::unit, unit % 2 == 1, scales, sums);
    slot = copies.following(slot);
    if ((unit + 1) % slice_units == 0 || unit + 1 == units) {
      total.add(sums);
      sums.clear();
    }
  }
  if (a.up != nullptr) return store_gated_pairs<NT, warps>(a, total, dynamic_shared<float>(0, Block::gated / 4), own);
  if (number != strip) return;
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  UNROLL
  for (int n = 0; n < NT; ++n) UNROLL
  for (int i = 0; i < 4; ++i) {
    const int pair = own[8 * n + 2 * t + i % 2];
    if (pair >= 0) a.y[static_cast<int64_t>(pair) * a.out + 16 * number + g + i / 2 * 8] = total.values[n][i];
  }
}

template <class Codes, int NT, int warps>
void launch_experts(const ExpertProducts& a, cudaStream_t stream) {
  const int rows = 16 * (a.up != nullptr ? warps / 2 : warps);
  const dim3 grid(static_cast<unsigned>((a.out + rows - 1) / rows), static_cast<unsigned>(a.tiles.tiles));
  launch<multiply_experts<Codes, NT, warps>>(
      Launch{grid, dim3(32 * warps), static_cast<size_t>(ExpertBlock<Codes, NT, warps>::bytes), stream}, a);
}

// Few pairs want many blocks, which copy at the same time; many pairs want wide ones, which share x.
template <class Codes>
void run_expert_tiles(const ExpertProducts& a, cudaStream_t stream) {
  constexpr int wide = wide_block(Codes::layout().bits);
  switch (a.tiles.tile) {
    case 8:
      return launch_experts<Codes, 1, 4>(a, stream);
    case 16:
      return launch_experts<Codes, 2, wide>(a, stream);
    case 32:
      return launch_experts<Codes, 4, wide>(a, stream);
    default:
      return launch_experts<Codes, 8, wide>(a, stream);
  }
}

// By the scales of types, in files of their own, because nvcc takes its time.
void run_expert_blocks(const ExpertProducts& products, cudaStream_t stream);  // of 32 columns
void run_expert_super_blocks(const ExpertProducts& products, cudaStream_t stream);

}  // namespace vivace::cuda
