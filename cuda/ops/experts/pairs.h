// Pairs of a row and an expert in tiles: what route chose, cut so that rows of one expert meet its weights together.
// Pair row · used + slot is slot `slot` of a row. A tile has some pairs of one expert; which ones share it changes no
// bit, because each has columns of its own in every product.
//
// Few pairs are sorted by nobody: there is a block for every pair, which looks for its expert among the others'; the
// first of so many of an expert has them all, and the others end at once. More are sorted by a kernel before.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "cuda/core/shared.h"

namespace vivace::cuda {

inline constexpr int unsorted_pairs = 64;  // at most: two of a lane

struct PairTiles {
  const int32_t* ids = nullptr;  // [pairs]: what is outside [0, experts) counts as `experts`
  int pairs = 0, experts = 0;
  int tile = 8;                     // pairs of a tile, at most
  int tiles = 0;                    // blocks in y: as many as there can be
  const int32_t* owners = nullptr;  // [tiles] experts, -1: there is no such tile; null: pairs are not sorted
  const int32_t* list = nullptr;    // [tiles · tile] pairs, -1 beyond a tile's last

  __host__ __device__ int expert_of(int pair) const {
    const int id = ids[pair];
    return id >= 0 && id < experts ? id : experts;
  }
};

// `tile`: how many pairs share a tile; 0: what suits their number, of 8, 16, 32 and 64 up to `most`.
PairTiles plan_tiles(int pairs, int experts, int tile, int most = 64);
// Bytes of scratch memory that sort_tiles fills, a multiple of 256.
size_t tile_bytes(const PairTiles& tiles);
// Sorts what plan_tiles says must be sorted.
void sort_tiles(PairTiles& tiles, uint8_t* scratch, cudaStream_t stream);

// The tile of this block. All its threads call this; `own` gets the pairs, -1 beyond the last. Gives their expert,
// `experts` for those of none, -1 where there is no tile.
template <int tile>
__device__ inline int find_tile(const PairTiles& tiles, const Shared<int>& own) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, at = static_cast<int>(blockIdx.y);
  if (tiles.owners != nullptr) {
    const int expert = tiles.owners[at];
    if (expert < 0) return -1;
    for (int i = thread; i < tile; i += static_cast<int>(blockDim.x)) own[i] = tiles.list[int64_t{at} * tile + i];
    __syncthreads();
    return expert;
  }
  const int low = lane < tiles.pairs ? tiles.expert_of(lane) : -1;
  const int high = lane + 32 < tiles.pairs ? tiles.expert_of(lane + 32) : -1;
  const int expert = tiles.expert_of(at);
  const uint32_t masks[2] = {__ballot_sync(0xffffffffu, low == expert), __ballot_sync(0xffffffffu, high == expert)};
  const auto before = [&](int pair) {
    const uint32_t lower = (1u << pair % 32) - 1;
    return pair < 32 ? __popc(masks[0] & lower) : __popc(masks[0]) + __popc(masks[1] & lower);
  };
  const int first = before(at);
  if (first % tile != 0) return -1;
  if (thread < 32) {
    for (int i = lane; i < tile; i += 32) own[i] = -1;
    __syncwarp();
    for (int half = 0; half < 2; ++half) {
      const int place = before(lane + 32 * half) - first;
      const bool is = (half == 0 ? low : high) == expert;
      if (is && place >= 0 && place < tile) own[place] = lane + 32 * half;
    }
  }
  __syncthreads();
  return expert;
}

}  // namespace vivace::cuda
