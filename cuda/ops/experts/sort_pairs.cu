// Sorts pairs by expert into tiles.
#include <algorithm>

#include "cuda/core/launch.h"
#include "cuda/ops/experts/pairs.h"

namespace vivace::cuda {
namespace {

constexpr int sorting_warps = 8;

// A warp per expert, and one for pairs of none. Every block counts all pairs: counting costs less than another launch.
__global__ void __launch_bounds__(32 * sorting_warps, 1) sort_pairs(PairTiles tiles, int32_t* owners, int32_t* list) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int groups = tiles.experts + 1, threads = static_cast<int>(blockDim.x);
  const auto counts = dynamic_shared<int>(0, static_cast<size_t>(groups));
  const auto starts = dynamic_shared<int>(sizeof(int) * static_cast<size_t>(groups), static_cast<size_t>(groups + 1));
  for (int i = thread; i < groups; i += threads) counts[i] = 0;
  __syncthreads();
  for (int i = thread; i < tiles.pairs; i += threads) add_shared(counts, tiles.expert_of(i), 1);
  __syncthreads();
  if (warp == 0) {
    int begin = 0;
    for (int from = 0; from < groups; from += 32) {
      const int group = from + lane;
      const int own = group < groups ? (counts[group] + tiles.tile - 1) / tiles.tile : 0;
      int sum = own;
      for (int step = 1; step < 32; step *= 2) {
        const int other = __shfl_up_sync(0xffffffffu, sum, static_cast<unsigned>(step));
        if (lane >= step) sum += other;
      }
      if (group < groups) starts[group] = begin + sum - own;
      begin += __shfl_sync(0xffffffffu, sum, 31);
    }
    if (lane == 0) starts[groups] = begin;
  }
  __syncthreads();
  const int group = static_cast<int>(blockIdx.x) * sorting_warps + warp;
  if (group < groups) {
    const int first = starts[group], end = starts[group + 1];
    int place = first * tiles.tile;
    for (int from = 0; from < tiles.pairs; from += 32) {
      const int pair = from + lane;
      const bool is = pair < tiles.pairs && tiles.expert_of(pair) == group;
      const uint32_t mask = __ballot_sync(0xffffffffu, is);
      if (is) list[place + __popc(mask & ((1u << lane) - 1))] = pair;
      place += __popc(mask);
    }
    for (int i = place + lane; i < end * tiles.tile; i += 32) list[i] = -1;
    for (int i = first + lane; i < end; i += 32) owners[i] = group;
  }
  const int step = static_cast<int>(gridDim.x) * threads;
  for (int i = starts[groups] + static_cast<int>(blockIdx.x) * threads + thread; i < tiles.tiles; i += step)
    owners[i] = -1;
}

constexpr size_t rounded(int64_t ints) {
  return static_cast<size_t>((ints * 4 + 255) / 256 * 256);
}

}  // namespace

PairTiles plan_tiles(int pairs, int experts, int tile, int most) {
  PairTiles tiles;
  tiles.pairs = pairs;
  tiles.experts = experts;
  const int each = (pairs + experts - 1) / experts;
  const int suits = each <= 6 ? 8 : each <= 12 ? 16 : each <= 24 ? 32 : 64;
  tiles.tile = tile != 0 ? tile : std::min(suits, most);
  // Every expert but one has at most a tile that is not full.
  const int64_t ends = std::min(pairs, experts + 1);
  tiles.tiles = pairs <= unsorted_pairs ? pairs : static_cast<int>((pairs + ends * (tiles.tile - 1)) / tiles.tile);
  return tiles;
}

size_t tile_bytes(const PairTiles& tiles) {
  if (tiles.pairs <= unsorted_pairs) return 0;
  return rounded(tiles.tiles) + rounded(int64_t{tiles.tiles} * tiles.tile);
}

void sort_tiles(PairTiles& tiles, uint8_t* scratch, cudaStream_t stream) {
  if (tiles.pairs <= unsorted_pairs) return;
  auto* owners = reinterpret_cast<int32_t*>(scratch);
  auto* list = reinterpret_cast<int32_t*>(scratch + rounded(tiles.tiles));
  const int groups = tiles.experts + 1;
  launch<sort_pairs>(Launch{dim3(static_cast<unsigned>((groups + sorting_warps - 1) / sorting_warps)),
                            dim3(32 * sorting_warps), sizeof(int) * static_cast<size_t>(2 * groups + 1), stream},
                     tiles, owners, list);
  tiles.owners = owners;
  tiles.list = list;
}

}  // namespace vivace::cuda
