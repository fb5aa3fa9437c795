// The kernel for many rows of a sequence: tiles of query vectors stay with a block while tiles of keys and values pass
// through shared memory as halves, products on tensor cores, an online softmax per vector.
//
// Vector i of a run is row i / group, query head i % group of one KV head, so that all heads of a group share a
// reading. A warp has sixteen of them. Scores of a warp's vectors stay in its registers: what mma gives as sums is what
// it takes as the left operand of the next product.
//
// A vector's result follows from its row alone: tiles of keys begin at multiples of their size, a key that a row does
// not see has weight 0, and a tile of which it sees nothing changes none of its bits. Values of such keys are
// multiplied by that 0, so a value that is no number reaches rows of its tile that do not see it; cells that no row of
// a tile sees are zeros.
//
// Sinks that windows have left pass first, before queries that are turned for them, and their keys are turned in shared
// memory; sums and maxima go on. Tiles of blocks that no row sees are left out.
//
// Pages of F16 are copied while the tile before is computed. Others are copied as they are stored, and become halves
// when their turn comes.
#pragma once
#include <cuda_fp16.h>

#include "cuda/core/launch.h"
#include "cuda/core/mma.h"
#include "cuda/core/packed.h"
#include "cuda/core/reduce.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/attention/decode/kinds.h"
#include "cuda/ops/attention/pages.h"
#include "cuda/ops/attention/prefill/call.h"

namespace vivace::cuda {

// How many dims the values have at most (16 · VT) decides how large tiles are.
template <int VT>
struct PrefillTile {
  static constexpr int warps = VT <= 8 ? 8 : 4, threads = 32 * warps, vectors = 16 * warps;
  static constexpr int keys = VT <= 8 ? 32 : 16;
};

// Bytes of a row in shared memory: of halves, and of what is stored in a page.
__host__ __device__ inline int half_slot(int dim) {
  return (dim / 8 | 1) * 16;
}
__host__ __device__ inline int stored_slot(DType dtype, int dim) {
  if (dtype == DType::Q8_0 || dtype == DType::Q4_0) return Blocks::slot_bytes(dim, dtype == DType::Q8_0 ? 34 : 18);
  return dtype == DType::F32 ? dim * 4 + 16 : half_slot(dim);
}

struct PrefillLayout {
  size_t queries = 0, keys = 0, values = 0, stored_keys = 0, stored_values = 0;  // bytes; keys and values of a tile
  size_t bytes = 0;

  // Pages of F16 have two tiles of keys and values, others one of halves and one as it is stored.
  __host__ __device__ PrefillLayout(const DeviceKv& kv, int vectors, int tile, bool direct)
      : queries(static_cast<size_t>(vectors * half_slot(kv.key_dim))),
        keys(static_cast<size_t>(tile * half_slot(kv.key_dim))),
        values(static_cast<size_t>(tile * half_slot(kv.value_dim))),
        stored_keys(static_cast<size_t>(tile * stored_slot(kv.key_dtype, kv.key_dim))),
        stored_values(static_cast<size_t>(tile * stored_slot(kv.value_dtype, kv.value_dim))) {
    bytes = queries + keys + values + (direct ? keys + values : stored_keys + stored_values);
  }
};

// Eight values of a row, from dim 8 · piece on, as they are stored, to halves.
__device__ inline uint4 halves_of(DType dtype, const Shared<uint8_t>& slots, int at, int piece) {
  if (dtype == DType::F16) return load_as<uint4>(slots, static_cast<size_t>(at + 16 * piece));
  float x[8];
  if (dtype == DType::F32) {
    const float4 a = load_as<float4>(slots, static_cast<size_t>(at + 32 * piece));
    const float4 b = load_as<float4>(slots, static_cast<size_t>(at + 32 * piece + 16));
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
  } else {
    const CodesOfEither codes(dtype);
    const int block = at + piece / 4 * codes.bytes();
    const float scale = Blocks::scale_at(slots, block);
    UNROLL
    for (int i = 0; i < 2; ++i) {
      const uint32_t word = codes.four(slots, block, piece % 4 * 8 + 4 * i);
      UNROLL
      for (int k = 0; k < 4; ++k)
        x[4 * i + k] = scale * static_cast<float>(codes.whole(static_cast<int8_t>(word >> (8 * k) & 255)));
    }
  }
  return make_uint4(pack_f16(x[0], x[1]), pack_f16(x[2], x[3]), pack_f16(x[4], x[5]), pack_f16(x[6], x[7]));
}

// `patterned`: there may be sinks, blocks, or groups of pages.
template <int VT, bool direct, bool patterned>
struct PrefillBlock {
  using Tile = PrefillTile<VT>;

  const PrefillCall& call;
  PrefillLayout layout;
  RowRun run;
  int first, head;  // vector of the block's first one; KV head

  // Row of the run's sequence, and query head, of one of the block's vectors.
  __device__ bool blocks() const { return patterned && has_blocks(call.pattern, head, call.kv.kv_heads); }
  __device__ bool is_vector(int i) const { return first + i < run.rows * call.group; }
  __device__ int64_t row_of(int i) const { return run.row + (first + i) / call.group; }
  __device__ int64_t place_of(int i) const {
    return row_of(i) * call.heads + head * call.group + (first + i) % call.group;
  }

  __device__ Shared<uint8_t> queries() const { return dynamic_shared<uint8_t>(0, layout.queries); }
  __device__ Shared<uint8_t> keys(int turn) const {
    return dynamic_shared<uint8_t>(layout.queries + static_cast<size_t>(turn) * (layout.keys + layout.values),
                                   layout.keys);
  }
  __device__ Shared<uint8_t> values(int turn) const {
    return dynamic_shared<uint8_t>(
        layout.queries + static_cast<size_t>(turn) * (layout.keys + layout.values) + layout.keys, layout.values);
  }
  __device__ Shared<uint8_t> stored_keys() const {
    return dynamic_shared<uint8_t>(layout.queries + layout.keys + layout.values, layout.stored_keys);
  }
  __device__ Shared<uint8_t> stored_values() const {
    return dynamic_shared<uint8_t>(layout.queries + layout.keys + layout.values + layout.stored_keys,
                                   layout.stored_values);
  }

  // `far`: as sinks see them.
  __device__ void load_queries(bool far) const {
    const int dim = call.kv.key_dim, pieces = dim / 8, slot = half_slot(dim);
    const auto to = queries();
    for (int i = static_cast<int>(threadIdx.x); i < Tile::vectors * pieces; i += Tile::threads) {
      const int vector = i / pieces, piece = i % pieces;
      uint4 halves = make_uint4(0, 0, 0, 0);
      if (is_vector(vector)) {
        const auto at = static_cast<size_t>(place_of(vector) * dim + 8 * piece);
        if (far && call.pattern.turned > 0) {
          halves = turned_halves(row_of(vector), call.q + place_of(vector) * dim, 8 * piece);
        } else {
          const float4 a = load_as<float4>(call.q, at), b = load_as<float4>(call.q, at + 4);
          halves = make_uint4(pack_f16(a.x, a.y), pack_f16(a.z, a.w), pack_f16(b.x, b.y), pack_f16(b.z, b.w));
        }
      }
      store_as(to, static_cast<size_t>(vector * slot + 16 * piece), halves);
    }
  }

  __device__ uint4 turned_halves(int64_t row, const float* q, int from) const {
    const SinkTurn turn(call.batch, call.kv, call.pattern, row);
    float x[8];
    UNROLL
    for (int i = 0; i < 8; ++i) x[i] = turned_value(turn.query, turn.pairs, from + i, [&](int d) { return q[d]; });
    return make_uint4(pack_f16(x[0], x[1]), pack_f16(x[2], x[3]), pack_f16(x[4], x[5]), pack_f16(x[6], x[7]));
  }

  // Keys of sinks back to position 0.
  __device__ void turn_tile(int tile, int turn_number, int sinks) const {
    const SinkTurn turn(call.batch, call.kv, call.pattern, run.row);
    if (turn.keys == nullptr) return;
    const int slot = half_slot(call.kv.key_dim);
    const auto place = keys(turn_number);
    for (int i = static_cast<int>(threadIdx.x); i < Tile::keys * turn.pairs; i += Tile::threads) {
      const int r = i / turn.pairs, j = i % turn.pairs, sink = tile * Tile::keys + r;
      if (sink >= sinks) break;
      const auto low = static_cast<size_t>(r * slot + 2 * j), high = low + static_cast<size_t>(2 * turn.pairs);
      const float a = half_at(place, low), b = half_at(place, high);
      const float cosine = turn.key(sink)[j], sine = turn.key(sink)[turn.pairs + j];
      store_as(place, low, __half_as_ushort(__float2half_rn(a * cosine - b * sine)));
      store_as(place, high, __half_as_ushort(__float2half_rn(b * cosine + a * sine)));
    }
    __syncthreads();
  }
  __device__ static float half_at(const Shared<uint8_t>& place, size_t at) {
    return __half2float(__ushort_as_half(load_as<unsigned short>(place, at)));
  }

  // Whether the block's first row, which sees most of those nearby, sees a block of cells.
  __device__ bool sees_block(const BlockOrder& order, int number) const {
    return number >= order.near || order.is_far(number);
  }
  // The first tile from this one on of which a row sees something.
  __device__ int next_tile(int tile, int tiles, int own) const {
    if (!blocks()) return tile;
    const BlockOrder order(call.pattern, head, own / call.pattern.block);
    for (; tile < tiles; ++tile) {
      const int last = (tile * Tile::keys + Tile::keys - 1) / order.block;
      for (int number = tile * Tile::keys / order.block; number <= last; ++number)
        if (sees_block(order, number)) return tile;
    }
    return tile;
  }

  // Starts the copies of a tile of slots; zeros for those outside [from, to), and for blocks that a row whose last slot
  // is `own` does not see. Eight lanes have a row.
  __device__ void copy_tile(const StripPlace& place, int tile, int turn, int from, int to, int own_slot) const {
    const DeviceKv& kv = call.kv;
    const int key_slot = direct ? half_slot(kv.key_dim) : stored_slot(kv.key_dtype, kv.key_dim);
    const int value_slot = direct ? half_slot(kv.value_dim) : stored_slot(kv.value_dtype, kv.value_dim);
    for (int r = static_cast<int>(threadIdx.x / 8); r < Tile::keys; r += Tile::threads / 8) {
      const int slot = tile * Tile::keys + r;
      bool there = slot >= from && slot < to;
      if (there && blocks())
        there = sees_block(BlockOrder(call.pattern, head, own_slot / call.pattern.block), slot / call.pattern.block);
      const int own = slot % kv.page_size;
      const std::byte* page = place.pages[(there ? slot : from) / kv.page_size];
      copy_strip_row(direct ? keys(turn) : stored_keys(), r * key_slot, page + place.keys + own * kv.key_row,
                     shift_of(kv.key_dtype, slot, kv.key_row), static_cast<int>(kv.key_row), there);
      copy_strip_row(direct ? values(turn) : stored_values(), r * value_slot, page + place.values + own * kv.value_row,
                     shift_of(kv.value_dtype, slot, kv.value_row), static_cast<int>(kv.value_row), there);
    }
    commit_copies();
  }
  // How far behind an address that 16 divides a slot's row begins; pages have a multiple of 16 cells.
  __device__ static int shift_of(DType dtype, int slot, int64_t row_bytes) {
    return dtype == DType::Q8_0 || dtype == DType::Q4_0 ? static_cast<int>(slot % 16 * row_bytes & 15) : 0;
  }

  __device__ void convert_tile() const {
    const DeviceKv& kv = call.kv;
    const auto convert = [&](DType dtype, int dim, int64_t row_bytes, const Shared<uint8_t>& from,
                             const Shared<uint8_t>& to) {
      const int pieces = dim / 8, slot = stored_slot(dtype, dim), to_slot = half_slot(dim);
      for (int i = static_cast<int>(threadIdx.x); i < Tile::keys * pieces; i += Tile::threads) {
        const int row = i / pieces, piece = i % pieces;
        store_as(to, static_cast<size_t>(row * to_slot + 16 * piece),
                 halves_of(dtype, from, row * slot + shift_of(dtype, row, row_bytes), piece));
      }
    };
    convert(kv.key_dtype, kv.key_dim, kv.key_row, stored_keys(), keys(0));
    convert(kv.value_dtype, kv.value_dim, kv.value_row, stored_values(), values(0));
  }

  __device__ void attend() const {
    const DeviceKv& kv = call.kv;
    const LanePlace at;
    const int warp = static_cast<int>(threadIdx.x / 32), mine = 16 * warp;
    const int steps = kv.key_dim / 16, value_tiles = kv.value_dim / 16;
    const int key_slot = half_slot(kv.key_dim), value_slot = half_slot(kv.value_dim);
    const Pattern& pattern = call.pattern;
    const int first_own = patterned ? visible_slots(call.batch, row_of(0), 0).end - 1 : 0;  // the first row's own slot
    float o[2 * VT][4] = {}, top[2] = {-INFINITY, -INFINITY}, total[2] = {};
    const float factor = call.softcap > 0 ? call.scale / call.softcap : call.scale * log2_e;
    const float cap = call.softcap * log2_e;
    for (int far = patterned && pattern.sinks > 0 ? 1 : 0; far >= 0; --far) {
      const StripPlace place = patterned ? StripPlace(call.batch, kv, run.row, call.layer, head, far == 0)
                                         : StripPlace::in_whole(call.batch, kv, run.row, call.layer, head);
      // What rows g and g + 8 of the warp see.
      int from[2], to[2];
      UNROLL
      for (int h = 0; h < 2; ++h) {
        from[h] = to[h] = 0;
        if (!is_vector(mine + at.g + 8 * h)) continue;
        const VisibleSlots seen = visible_slots(call.batch, row_of(mine + at.g + 8 * h), pattern.window);
        from[h] = far != 0 ? 0 : seen.begin;
        to[h] = far != 0 ? far_sinks(pattern, seen) : seen.end;
      }
      const auto lowest = [](int f, int t) { return f < t ? f : INT32_MAX; };
      int begin = min(lowest(from[0], to[0]), lowest(from[1], to[1])), end = max(to[0], to[1]);
      for (int step = 4; step < 32; step *= 2) {
        begin = min(begin, __shfl_xor_sync(0xffffffffu, begin, step));
        end = max(end, __shfl_xor_sync(0xffffffffu, end, step));
      }
      // Barriers, too: what the pass before has read may be overwritten.
      const int block_begin = -max_of_block(-begin), block_end = max_of_block(end);
      const int tiles = (block_end + Tile::keys - 1) / Tile::keys;
      int tile = next_tile(block_begin < block_end ? block_begin / Tile::keys : tiles, tiles, first_own);
      if (tile < tiles) copy_tile(place, tile, 0, block_begin, block_end, first_own);
      if (tile < tiles || far == 0) load_queries(far != 0);

      for (int number = 0; tile < tiles; ++number) {
        const int turn = direct ? number % 2 : 0;
        wait_copies<0>();
        __syncthreads();  // the tile and the queries are there, and nobody reads what is filled next
        if constexpr (!direct) {
          convert_tile();
          __syncthreads();
        }
        if (patterned && far != 0) turn_tile(tile, turn, block_end);
        const int slot = tile * Tile::keys;
        tile = next_tile(tile + 1, tiles, first_own);
        if (tile < tiles) copy_tile(place, tile, 1 - turn, block_begin, block_end, first_own);
        if (end <= slot || begin >= slot + Tile::keys) continue;  // nothing that the warp sees
        // Of sixteen keys each, which a block has whole, whether rows g and g + 8 see it.
        bool seen[Tile::keys / 16][2];
        UNROLL
        for (int k = 0; k < Tile::keys / 16; ++k) UNROLL
        for (int h = 0; h < 2; ++h) {
          seen[k][h] = true;
          if (blocks() && to[h] > 0)
            seen[k][h] =
                sees_block(BlockOrder(pattern, head, (to[h] - 1) / pattern.block), (slot + 16 * k) / pattern.block);
        }

        float s[Tile::keys / 8][4] = {};
        const auto key_tile = keys(turn), value_tile = values(turn), query_tile = queries();
        ROLLED
        for (int kt = 0; kt < steps; ++kt) {
          uint32_t q[4];
          load_matrices(
              q, query_tile,
              static_cast<size_t>((mine + at.lane % 16) * half_slot(kv.key_dim) + 16 * (2 * kt + at.lane / 16)));
          UNROLL
          for (int n = 0; n < Tile::keys / 16; ++n) {
            uint32_t k[4];
            load_matrices(k, key_tile,
                          static_cast<size_t>((16 * n + at.lane % 8 + at.lane / 16 * 8) * key_slot +
                                              16 * (2 * kt + at.lane / 8 % 2)));
            const uint32_t one[2] = {k[0], k[1]}, two[2] = {k[2], k[3]};
            multiply_f16(s[2 * n], q, one);
            multiply_f16(s[2 * n + 1], q, two);
          }
        }
        float highest[2] = {-INFINITY, -INFINITY}, keep[2], base[2];
        UNROLL
        for (int n = 0; n < Tile::keys / 8; ++n) UNROLL
        for (int i = 0; i < 4; ++i) {
          const int own = slot + 8 * n + 2 * at.t + i % 2;
          const float x = s[n][i] * factor;
          const bool there = own >= from[i / 2] && own < to[i / 2] && seen[n / 2][i / 2];
          s[n][i] = there ? call.softcap > 0 ? cap * tanhf(x) : x : -INFINITY;
          highest[i / 2] = fmaxf(highest[i / 2], s[n][i]);
        }
        UNROLL
        for (int h = 0; h < 2; ++h) {
          UNROLL
          for (int step = 1; step < 4; step *= 2)
            highest[h] = fmaxf(highest[h], __shfl_xor_sync(0xffffffffu, highest[h], step));
          const float next = fmaxf(top[h], highest[h]);
          base[h] = next == -INFINITY ? 0.0f : next;
          keep[h] = exp2f(top[h] - base[h]);
          total[h] *= keep[h];
          top[h] = next;
        }
        UNROLL
        for (int n = 0; n < Tile::keys / 8; ++n) UNROLL
        for (int i = 0; i < 4; ++i) {
          s[n][i] = exp2f(s[n][i] - base[i / 2]);
          total[i / 2] += s[n][i];
        }
        if (__any_sync(0xffffffffu, keep[0] != 1.0f || keep[1] != 1.0f ? 1 : 0) != 0) {
          UNROLL
          for (int v = 0; v < 2 * VT; ++v) UNROLL
          for (int i = 0; i < 4; ++i) o[v][i] *= keep[i / 2];
        }
        UNROLL
        for (int k = 0; k < Tile::keys / 16; ++k) {
          const uint32_t weights[4] = {pack_f16(s[2 * k][0], s[2 * k][1]), pack_f16(s[2 * k][2], s[2 * k][3]),
                                       pack_f16(s[2 * k + 1][0], s[2 * k + 1][1]),
                                       pack_f16(s[2 * k + 1][2], s[2 * k + 1][3])};
          UNROLL
          for (int v = 0; v < VT; ++v) {
            if (v >= value_tiles) break;
            uint32_t x[4];
            load_transposed(x, value_tile,
                            static_cast<size_t>((16 * k + at.lane % 16) * value_slot + 16 * (2 * v + at.lane / 16)));
            const uint32_t one[2] = {x[0], x[1]}, two[2] = {x[2], x[3]};
            multiply_f16(o[2 * v], weights, one);
            multiply_f16(o[2 * v + 1], weights, two);
          }
        }
      }
    }

    UNROLL
    for (int h = 0; h < 2; ++h) {
      UNROLL
      for (int step = 1; step < 4; step *= 2) total[h] += __shfl_xor_sync(0xffffffffu, total[h], step);
      const int vector = mine + at.g + 8 * h;
      if (!is_vector(vector)) continue;
      const float inverse = 1.0f / total[h];  // rows of a run see themselves
      float* out = call.y + place_of(vector) * kv.value_dim;
      UNROLL
      for (int v = 0; v < 2 * VT; ++v) {
        if (v >= 2 * value_tiles) break;
        store_as(out, static_cast<size_t>(8 * v + 2 * at.t),
                 make_float2(o[v][2 * h] * inverse, o[v][2 * h + 1] * inverse));
      }
    }
  }
};

// Of a multiprocessor at the same time; more would spill registers.
template <int VT, bool direct, bool patterned>
inline constexpr int prefill_blocks = VT <= (patterned ? 4 : 8) && direct ? 2 : 1;

template <int VT, bool direct, bool patterned>
__global__ void __launch_bounds__(PrefillTile<VT>::threads, prefill_blocks<VT, direct, patterned>)
    prefill_tiles(PrefillCall call) {
  using Tile = PrefillTile<VT>;
  // The block's tile of a run; the last rows see most, so they come first.
  int tile = static_cast<int>(blockIdx.x);
  const int runs = call.batch.sizes->runs;
  for (int i = 0; i < runs; ++i) {
    const RowRun run = call.batch.runs[i];
    const int tiles = (run.rows * call.group + Tile::vectors - 1) / Tile::vectors;
    if (tile < tiles) {
      const PrefillLayout layout(call.kv, Tile::vectors, Tile::keys, direct);
      PrefillBlock<VT, direct, patterned>{call, layout, run, (tiles - 1 - tile) * Tile::vectors,
                                          static_cast<int>(blockIdx.y)}
          .attend();
      return;
    }
    tile -= tiles;
  }
}

}  // namespace vivace::cuda
