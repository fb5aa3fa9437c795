// The kernel that quantised types share: weights stream through shared memory as they are stored.
//
// A warp has 16 · row_tiles rows of the weight and every fourth step (128 or 256 columns) of them. It copies a step's
// bytes of each row with 16-byte transactions from the aligned address below them, three steps ahead; blocks of 18 or
// 210 bytes need no repacking then, and an embedding may read the same memory. Lanes take codes out of shared memory at
// any even address, straight into operands of mma.sync: the 16 rows of A are rows of the weight, the 8 columns of B
// rows of x. Which column of the weight is which k of the product is free as long as A and B agree: lane t takes
// columns 8t … 8t + 7 of 32. After every four steps the warps' sums are added in order: steps begin at zero and are
// added in the order of columns, as by the kernels for many rows, so a row's bits are the same in every batch.
//
// A kind says how a step is multiplied:
//   columns, bytes     of a step; header: bytes of a row before the first; row_tiles
//   Sum                int or float
//   multiply<NT>(…)    adds a step to the sums
//   finish(…)          what a sum becomes
#pragma once
#include <cuda_fp16.h>

#include <type_traits>

#include "cuda/core/copy.h"
#include "cuda/core/launch.h"
#include "cuda/core/mma.h"
#include "cuda/core/packed.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/linear/arguments.h"

namespace vivace::cuda {

inline constexpr int staged_warps = 4, staged_stages = 3;

// A row's bytes of a step in shared memory.
struct StagedRow {
  Shared<uint8_t> bytes;
  int at;

  __device__ int byte(int offset) const { return bytes[at + offset]; }
  __device__ int signed_byte(int offset) const { return static_cast<int8_t>(byte(offset)); }
  __device__ float half(int offset) const {
    return __half2float(__ushort_as_half(load_as<unsigned short>(bytes, static_cast<size_t>(at + offset))));
  }
  __device__ uint32_t half_word(int offset) const {
    return load_as<unsigned short>(bytes, static_cast<size_t>(at + offset));
  }
  // Four bytes at a multiple of four.
  __device__ uint32_t aligned_word(int offset) const {
    return load_as<uint32_t>(bytes, static_cast<size_t>(at + offset));
  }
  // Four bytes at an even address.
  __device__ uint32_t word(int offset) const {
    const int place = at + offset;
    const uint32_t low = load_as<uint32_t>(bytes, static_cast<size_t>(place & ~3));
    if ((place & 2) == 0) return low;
    return __byte_perm(low, load_as<uint32_t>(bytes, static_cast<size_t>((place & ~3) + 4)), 0x5432);
  }
};

// Odd numbers of 16 bytes from row to row: eight rows lie in different banks.
template <class Kind>
inline constexpr int slot_bytes = ((Kind::bytes + 30) / 16 | 1) * 16;
template <class Kind>
inline constexpr int tile_rows = 16 * Kind::row_tiles;
template <class Kind>
inline constexpr int ring_bytes = staged_stages * tile_rows<Kind> * slot_bytes<Kind>;

// Floats are added step by step in the order of columns, as every kernel does; whole numbers when all steps are done.
template <class Kind>
inline constexpr bool is_ordered = !std::is_integral_v<typename Kind::Sum>;
template <class Kind>
inline constexpr int exchanges = is_ordered<Kind> ? 2 : 1;

// The first byte of a step of a row, and their number.
template <class Kind>
__device__ inline const uint8_t* step_begin(const LinearArguments& a, int row, int step) {
  const int last = a.out - 1;
  return a.weight + (row < last ? row : last) * a.stride + Kind::header + static_cast<int64_t>(step) * Kind::bytes;
}
template <class Kind>
__device__ inline int step_columns(const LinearArguments& a, int step) {
  const int left = a.columns - step * Kind::columns;
  return left < Kind::columns ? left : Kind::columns;
}

template <class Kind>
__device__ inline void copy_step(const LinearArguments& a, const Shared<uint8_t>& slots, int first, int step) {
  constexpr int chunks = slot_bytes<Kind> / 16;
  const int size = static_cast<int>(int64_t{Kind::bytes} * step_columns<Kind>(a, step) / Kind::columns);
  for (int i = static_cast<int>(threadIdx.x % 32); i < tile_rows<Kind> * chunks; i += 32) {
    const int row = i / chunks, chunk = i % chunks;
    const uint8_t* begin = step_begin<Kind>(a, first + row, step);
    const int shift = static_cast<int>(reinterpret_cast<uintptr_t>(begin) & 15);
    if (16 * chunk < shift + size)
      copy_async<16>(slots, static_cast<size_t>(row * slot_bytes<Kind> + 16 * chunk), begin - shift + 16 * chunk);
  }
}

template <class Kind, int NT>
__global__ void __launch_bounds__(32 * staged_warps, 1) staged_linear(LinearArguments a) {
  using Sum = typename Kind::Sum;
  constexpr int MT = Kind::row_tiles;
  const int warp = static_cast<int>(threadIdx.x / 32), g = static_cast<int>(threadIdx.x % 32 / 4);
  const int t = static_cast<int>(threadIdx.x % 4);
  const int first = static_cast<int>(blockIdx.x) * tile_rows<Kind>, batch = static_cast<int>(blockIdx.y) * 8 * NT;
  const int steps = (a.columns + Kind::columns - 1) / Kind::columns;
  const auto ring = dynamic_shared<uint8_t>(static_cast<size_t>(warp * ring_bytes<Kind>), ring_bytes<Kind>);
  const auto slots_of = [&](int turn) { return ring + turn % staged_stages * tile_rows<Kind> * slot_bytes<Kind>; };

  constexpr int outputs = tile_rows<Kind> * 8 * NT, own = outputs / (32 * staged_warps);
  const auto all = dynamic_shared<Sum>(staged_warps * ring_bytes<Kind>, exchanges<Kind> * staged_warps * outputs);
  Sum sums[MT][NT][4] = {}, total[own] = {};
  for (int i = 0; i < staged_stages - 1; ++i) {
    const int step = warp + i * staged_warps;
    if (step < steps) copy_step<Kind>(a, slots_of(i), first, step);
    commit_copies();
  }
  const int rounds = (steps + staged_warps - 1) / staged_warps;
  for (int turn = 0; turn < rounds; ++turn) {
    const int step = warp + turn * staged_warps;
    wait_copies<staged_stages - 2>();
    __syncwarp();  // every lane's copies are there, and nobody reads the slots that are filled next
    const int next = step + (staged_stages - 1) * staged_warps;
    if (next < steps) copy_step<Kind>(a, slots_of(turn + staged_stages - 1), first, next);
    commit_copies();
    if (step < steps) {
      const auto slots = slots_of(turn);
      const auto row_of = [&](int row) {
        const auto shift = static_cast<int>(reinterpret_cast<uintptr_t>(step_begin<Kind>(a, first + row, step)) & 15);
        return StagedRow{slots + row * slot_bytes<Kind>, shift};
      };
      Kind::template multiply<NT>(a, row_of, first, batch, step, step_columns<Kind>(a, step) / 32, sums);
    }
    if (!is_ordered<Kind> && turn + 1 < rounds) continue;
    // Two places in turns: who fills one again has met everybody since it was read.
    const auto parts = all + turn % exchanges<Kind> * (staged_warps * outputs);
    UNROLL
    for (int m = 0; m < MT; ++m) UNROLL
    for (int n = 0; n < NT; ++n) UNROLL
    for (int i = 0; i < 4; ++i) {
      parts[warp * outputs + (8 * n + 2 * t + i % 2) * tile_rows<Kind> + 16 * m + g + i / 2 * 8] = sums[m][n][i];
      sums[m][n][i] = 0;
    }
    __syncthreads();
    UNROLL
    for (int i = 0; i < own; ++i) UNROLL
    for (int w = 0; w < staged_warps; ++w)
      total[i] += static_cast<Sum>(parts[w * outputs + i * 32 * staged_warps + static_cast<int>(threadIdx.x)]);
  }

  UNROLL
  for (int i = 0; i < own; ++i) {
    const int at = i * 32 * staged_warps + static_cast<int>(threadIdx.x);
    const int n = first + at % tile_rows<Kind>, row = batch + at / tile_rows<Kind>;
    if (n < a.out && row < a.rows) a.store(Kind::finish(a, total[i], row, n), row, n);
  }
}

template <class Kind, int NT>
void launch_tiles(const LinearArguments& a, cudaStream_t stream) {
  const auto over = [](int count, int size) { return static_cast<unsigned>((count + size - 1) / size); };
  constexpr size_t shared =
      staged_warps * (ring_bytes<Kind> + exchanges<Kind> * tile_rows<Kind> * 8 * NT * sizeof(typename Kind::Sum));
  static_assert(shared <= 99 * 1024, "what a block of compute capability 8.6 may have");
  launch<staged_linear<Kind, NT>>(
      Launch{dim3(over(a.out, tile_rows<Kind>), over(a.rows, 8 * NT)), dim3(32 * staged_warps), shared, stream}, a);
}

// One pass over the weight serves up to 32 rows of x.
template <class Kind>
void launch_staged(const LinearArguments& a, cudaStream_t stream) {
  if (a.rows <= 8)
    launch_tiles<Kind, 1>(a, stream);
  else if (a.rows <= 16)
    launch_tiles<Kind, 2>(a, stream);
  else
    launch_tiles<Kind, 4>(a, stream);
}

}  // namespace vivace::cuda
