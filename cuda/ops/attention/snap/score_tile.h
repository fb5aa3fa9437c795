// Scores of 32 query vectors with 64 cells, in shared memory: all that is ever there of a matrix of scores. Keys of any
// type become floats as they come; each thread has four cells and four vectors.
#pragma once
#include "cuda/core/shared.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/attention/snap/snap.h"
#include "cuda/quant/dequantise.h"

namespace vivace::cuda {

inline constexpr int tile_cells = 64, tile_queries = 32;
inline constexpr int tile_dims = 32, tile_stride = 36;  // of a row in shared memory: rows lie in different banks
inline constexpr int score_stride = 65;

// scores[query][cell] of the vectors from `first_query` and the cells from `first_cell` on, −∞ for what there is not or
// a row does not see. All threads of a block; nobody may still read the scores before.
__device__ inline void score_tile(const PromptHead& prompt, int first_query, int first_cell, int cells,
                                  const Shared<float>& scores) {
  SHARED(float, keys, tile_cells* tile_stride);
  SHARED(float, queries, tile_queries* tile_stride);
  const SnapCall& call = prompt.call;
  const int thread = static_cast<int>(threadIdx.x), x = thread % 16, y = thread / 16;
  const int dim = call.kv.key_dim, count = prompt.queries();
  const int64_t any_row = prompt.row_of(0);
  float sums[4][4] = {};  // of cell x + 16 · i, vector 4 · y + j
  for (int from = 0; from < dim; from += tile_dims) {
    __syncthreads();
    for (int i = thread; i < tile_cells * tile_dims; i += snap_threads) {
      const int cell = first_cell + i / tile_dims, d = from + i % tile_dims;
      float value = 0.0f;
      if (cell < cells && d < dim)
        value = weight_value(
            call.kv.key_dtype,
            reinterpret_cast<const uint8_t*>(key_row(call.batch, call.kv, any_row, call.layer, prompt.head, cell)), d);
      keys[i / tile_dims * tile_stride + i % tile_dims] = value;
    }
    for (int i = thread; i < tile_queries * tile_dims; i += snap_threads) {
      const int query = first_query + i / tile_dims, d = from + i % tile_dims;
      queries[i / tile_dims * tile_stride + i % tile_dims] =
          query < count && d < dim ? prompt.query(query)[d] * call.scale : 0.0f;
    }
    __syncthreads();
    for (int d = 0; d < tile_dims; d += 4) {
      float4 k[4], q[4];
      UNROLL
      for (int i = 0; i < 4; ++i) {
        k[i] = load_as<float4>(keys, static_cast<size_t>((x + 16 * i) * tile_stride + d));
        q[i] = load_as<float4>(queries, static_cast<size_t>((4 * y + i) * tile_stride + d));
      }
      UNROLL
      for (int i = 0; i < 4; ++i) UNROLL
      for (int j = 0; j < 4; ++j) {
        sums[i][j] = fmaf(k[i].x, q[j].x, sums[i][j]);
        sums[i][j] = fmaf(k[i].y, q[j].y, sums[i][j]);
        sums[i][j] = fmaf(k[i].z, q[j].z, sums[i][j]);
        sums[i][j] = fmaf(k[i].w, q[j].w, sums[i][j]);
      }
    }
  }
  UNROLL
  for (int j = 0; j < 4; ++j) {
    const int query = first_query + 4 * y + j;
    const int seen = query < count ? min(call.batch.visible[prompt.row_of(query)], cells) : 0;
    UNROLL
    for (int i = 0; i < 4; ++i) {
      float score = sums[i][j];
      if (call.softcap > 0) score = call.softcap * tanhf(score / call.softcap);
      scores[(4 * y + j) * score_stride + x + 16 * i] = first_cell + x + 16 * i < seen ? score : -INFINITY;
    }
  }
  __syncthreads();
}

}  // namespace vivace::cuda
