// The kernel for few rows of a sequence: a block has a chunk of slots of one unit in one KV head, and reads its keys
// and values once for all query vectors of the unit, up to 8 · NT of them.
//
// Each warp has every n-th strip of sixteen slots with an online softmax of its own, so that nothing waits for a
// barrier while strips stream through its ring. At the end the warps' states are merged in order and go to memory, or,
// when the row has no other chunk, become the result. Blocks stay and take one chunk after the other: how many there
// are is read from the plan, so that a recorded graph serves every length.
//
// A column's sums depend on its row's slots alone: strips begin at multiples of sixteen, strip n belongs to warp n
// modulo `warps`, and what other columns hold is never read. Products that the compiler might join with a sum in one
// kernel and not in another are written as __fmul_rn.
#pragma once
#include "cuda/core/launch.h"
#include "cuda/ops/attention/decode/call.h"
#include "cuda/ops/attention/decode/kinds.h"
#include "cuda/ops/attention/sparse/choice.h"
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {

// Whether the row attends to cells of its choice, which is not done here.
__device__ inline bool chooses(const DecodeCall& call, int64_t row, const VisibleSlots& seen) {
  return call.choosing && choice_of(call.batch, call.kv.labels, row, seen) > 0;
}

// An item's unit. Every lane of a warp gets it.
__device__ inline RowUnit find_unit(const DeviceBatch& batch, int item) {
  const int count = batch.sizes->units, lane = static_cast<int>(threadIdx.x % 32);
  int at = -1;
  for (int from = 0; from < count; from += 32) {
    const int own = from + lane;
    const bool before = own < count && batch.units[own].first_item <= item;
    const int found = __popc(__ballot_sync(0xffffffffu, before ? 1 : 0));
    at += found;
    if (found < 32) break;
  }
  return batch.units[at];
}

// Floats of the sums of keys 2t, 2t + 1, 2t + 8, 2t + 9 of column g, from those of rows g and g + 8, columns 2t and
// 2t + 1: a matrix of floats is turned as two of halves.
__device__ inline void turn(const float (&in)[4], float (&out)[4]) {
  UNROLL
  for (int i = 0; i < 2; ++i) {
    const uint32_t a = __float_as_uint(in[2 * i]), b = __float_as_uint(in[2 * i + 1]);
    const uint32_t low = transposed_matrix(__byte_perm(a, b, 0x5410));
    const uint32_t high = transposed_matrix(__byte_perm(a, b, 0x7632));
    out[2 * i] = __uint_as_float(__byte_perm(low, high, 0x5410));
    out[2 * i + 1] = __uint_as_float(__byte_perm(low, high, 0x7632));
  }
}

// Blocks of a multiprocessor at the same time, as far as registers go.
template <int NT, int warps>
inline constexpr int decode_blocks = (NT == 1 ? 12 : 8) / warps;

template <class Keys, class Values, int VT, int NT, int warps>
struct DecodeBlock {
  static constexpr int columns = 8 * NT, threads = 32 * warps;

  const DecodeCall& call;
  RowUnit unit;
  int head,
      first_column;  // of the unit's query vectors: vector j is row j / group, query head j % group of the KV head

  __host__ __device__ static size_t ring_bytes(int key_dim, int value_dim) {
    const StripRing<Keys, Values> ring(key_dim, value_dim);
    return static_cast<size_t>(warps * strip_stages * ring.stage_bytes() + 15) / 16 * 16;
  }
  __host__ __device__ static size_t merge_bytes(int value_dim) {
    return static_cast<size_t>(warps * columns * (value_dim + 4)) * 4;
  }
  // The ring, and in its place the states of all warps; then the queries.
  __host__ __device__ static size_t query_place(int key_dim, int value_dim) {
    const size_t ring = ring_bytes(key_dim, value_dim), merge = merge_bytes(value_dim);
    return ring > merge ? ring : merge;
  }
  __host__ __device__ static size_t shared_bytes(int key_dim, int value_dim) {
    return query_place(key_dim, value_dim) + static_cast<size_t>(QueryParts<NT>::bytes(Keys::parts, key_dim / 16));
  }

  // Whether a column is a query vector of rows [first, end) of the unit.
  __device__ bool is_query(int column, int first, int end) const {
    const int row = (first_column + column) / call.group;
    return row >= first && row < end;
  }
  __device__ int64_t row_of(int column) const { return unit.row + (first_column + column) / call.group; }
  __device__ int64_t vector_of(int column) const {
    return row_of(column) * call.heads + head * call.group + (first_column + column) % call.group;
  }

  // A power of two by which a query's largest value comes near 2^14, and its inverse.
  __device__ static float2 power_for(float largest) {
    const int exponent = static_cast<int>(__float_as_uint(largest) >> 23);
    const int up = min(max(267 - exponent, 1), 253);
    return make_float2(__uint_as_float(static_cast<unsigned>(up) << 23),
                       __uint_as_float(static_cast<unsigned>(254 - up) << 23));
  }

  // Queries of rows [first, end), zeros in the other columns; factors: what sums are multiplied with.
  __device__ void load_queries(const QueryParts<NT>& parts, const Shared<float>& ups, const Shared<float>& factors,
                               int first, int end) const {
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int dim = call.kv.key_dim;
    for (int column = warp; column < columns; column += warps) {
      float2 power = make_float2(1.0f, 1.0f);
      if (Keys::range && is_query(column, first, end)) {
        const float* q = call.q + vector_of(column) * dim;
        float largest = 0;
        for (int i = lane; i < dim; i += 32) largest = fmaxf(largest, fabsf(q[i]));
        for (int step = 16; step > 0; step /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
        power = power_for(largest);
      }
      if (lane == 0) {
        ups[column] = power.x;
        const float scale = call.scale * power.y;
        factors[column] = call.softcap > 0 ? scale / call.softcap : scale * log2_e;
      }
    }
    __syncthreads();
    for (int i = thread; i < parts.steps * NT * 64; i += threads) {
      const int word = i % 2, at = i / 2 % 32, tile = i / 64 % NT, step = i / 64 / NT;
      const int column = 8 * tile + at / 4;
      uint32_t pair[Keys::parts] = {};
      if (is_query(column, first, end)) {
        const float up = ups[column];
        const float2 q =
            load_as<float2>(call.q, static_cast<size_t>(vector_of(column) * dim + Keys::dim_of(step, at % 4, word)));
        Keys::split(q.x * up, q.y * up, pair);
      }
      UNROLL
      for (int part = 0; part < Keys::parts; ++part)
        parts.words[static_cast<std::ptrdiff_t>(parts.place(part, step, tile, at)) + word] = pair[part];
    }
  }

  // Rows [first, end) of the unit over the slots of `work` in `chunk`. All threads of the block.
  template <class Work>
  __device__ void attend(int first, int end, const Work& work, const StripPlace& place, int chunk) const {
    const DeviceKv& kv = call.kv;
    const LanePlace at;
    const int warp = static_cast<int>(threadIdx.x / 32);
    const int used = min(unit.rows * call.group - first_column, columns), tiles = (used + 7) / 8;
    const int value_tiles = kv.value_dim / 16;
    const StripRing<Keys, Values> ring(kv.key_dim, kv.value_dim);
    const int from = work.from, to = work.to;
    SHARED(float, ups, columns);
    SHARED(float, factors, columns);
    SHARED(float, tops, warps* columns);
    SHARED(float, totals, warps* columns);
    const int steps = kv.key_dim / 16;
    const QueryParts<NT> queries = {
        dynamic_shared<uint32_t>(query_place(kv.key_dim, kv.value_dim),
                                 static_cast<size_t>(QueryParts<NT>::bytes(Keys::parts, steps) / 4)),
        steps};

    const int strips = (to + strip_slots - 1) / strip_slots, first_strip = from / strip_slots;
    int strip = first_strip + (warp + warps - first_strip % warps) % warps;
    UNROLL
    for (int i = 0; i < strip_stages; ++i) {
      if (strip + i * warps < strips)
        copy_strip(call.batch, kv, place, ring, ring.stage(warp, i), work, strip + i * warps);
      commit_copies();
    }
    load_queries(queries, ups, factors, first, end);
    __syncthreads();

    float o[VT][NT][4] = {}, top[NT][2], total[NT][2] = {};
    UNROLL
    for (int n = 0; n < NT; ++n) UNROLL
    for (int i = 0; i < 2; ++i) top[n][i] = -INFINITY;
    const float cap = call.softcap * log2_e;
    for (int turn_number = 0; strip < strips; strip += warps, ++turn_number) {
      wait_copies<strip_stages - 1>();
      __syncwarp();
      const StripStage stage = ring.stage(warp, turn_number);
      float s[NT][4] = {};
      Keys::scores(stage, ring.key_slot, kv, queries, tiles, s);
      const int slot = strip * strip_slots + at.g;
      float weights[NT][4] = {};
      UNROLL
      for (int n = 0; n < NT; ++n) {
        if (n >= tiles) break;
        float keep[2], base[2];
        const float2 factor = load_as<float2>(factors, static_cast<size_t>(8 * n + 2 * at.t));
        UNROLL
        for (int i = 0; i < 4; ++i) {
          const float x = __fmul_rn(s[n][i], i % 2 == 0 ? factor.x : factor.y);
          const int own = slot + i / 2 * 8;
          s[n][i] = own >= from && own < to ? call.softcap > 0 ? __fmul_rn(cap, tanhf(x)) : x : -INFINITY;
        }
        UNROLL
        for (int i = 0; i < 2; ++i) {
          // A NaN does not win the maximum, but it stays in the sum.
          float highest = fmaxf(s[n][i], s[n][2 + i]);
          UNROLL
          for (int step = 4; step < 32; step *= 2)
            highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, step));
          const float next = fmaxf(top[n][i], highest);
          base[i] = next == -INFINITY ? 0.0f : next;
          keep[i] = exp2f(top[n][i] - base[i]);
          total[n][i] = __fmul_rn(total[n][i], keep[i]);
          top[n][i] = next;
        }
        float p[4];
        UNROLL
        for (int i = 0; i < 4; ++i) {
          p[i] = exp2f(s[n][i] - base[i % 2]);
          total[n][i % 2] += p[i];
        }
        turn(p, weights[n]);
        // Nothing changes where nothing grew: a factor of 1 is left out.
        if (__any_sync(0xffffffffu, keep[0] != 1.0f || keep[1] != 1.0f ? 1 : 0) != 0) {
          UNROLL
          for (int v = 0; v < VT; ++v) UNROLL
          for (int i = 0; i < 4; ++i) o[v][n][i] *= keep[i % 2];
        }
      }
      Values::add(stage, ring.value_slot, kv, weights, value_tiles, tiles, o);
      __syncwarp();  // nobody reads the stage any more
      const int next = strip + strip_stages * warps;
      if (next < strips) copy_strip(call.batch, kv, place, ring, stage, work, next);
      commit_copies();
    }
    wait_copies<0>();

    UNROLL
    for (int n = 0; n < NT; ++n) UNROLL
    for (int i = 0; i < 2; ++i) {
      float sum = total[n][i];
      UNROLL
      for (int step = 4; step < 32; step *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
      if (at.g == 0) {
        tops[warp * columns + 8 * n + 2 * at.t + i] = top[n][i];
        totals[warp * columns + 8 * n + 2 * at.t + i] = sum;
      }
    }
    const int stride = kv.value_dim + 4;  // floats: lanes write to different banks
    const auto sums = dynamic_shared<float>(0, merge_bytes(kv.value_dim) / 4);
    __syncthreads();  // all rings are done
    UNROLL
    for (int v = 0; v < VT; ++v) {
      if (v >= value_tiles) break;
      UNROLL
      for (int n = 0; n < NT; ++n) UNROLL
      for (int i = 0; i < 4; ++i)
        sums[(warp * columns + 8 * n + 2 * at.t + i % 2) * stride + Values::dim_of(v, at.g, i / 2)] =
            o[v][n][i] * Values::scale;
    }
    __syncthreads();
    for (int column = warp; column < used; column += warps)
      if (is_query(column, first, end)) give(column, chunk, sums, stride, tops, totals);
    __syncthreads();  // before the next item's copies
  }

  // Merges the warps' states of a column; a warp.
  __device__ void give(int column, int chunk, const Shared<float>& sums, int stride, const Shared<float>& tops,
                       const Shared<float>& totals) const {
    float weight[warps], highest = -INFINITY, total = 0;
    UNROLL
    for (int w = 0; w < warps; ++w) highest = fmaxf(highest, tops[w * columns + column]);
    const float base = highest == -INFINITY ? 0.0f : highest;
    UNROLL
    for (int w = 0; w < warps; ++w) {
      weight[w] = exp2f(tops[w * columns + column] - base);
      total = fmaf(weight[w], totals[w * columns + column], total);
    }
    const int state = call.batch.states[row_of(column)], dim = call.kv.value_dim;
    const int lane = static_cast<int>(threadIdx.x % 32), floats = state_floats(dim);
    const int64_t vector = vector_of(column);
    float* out = call.y + vector * dim;
    if (state >= 0) {
      // States are of the chunks from that on in which the row's window begins.
      int place = state + chunk;
      if (call.pattern.window > 0)
        place -= visible_slots(call.batch, row_of(column), call.pattern.window).begin / unit.chunk;
      out = call.states + (static_cast<int64_t>(place) * call.heads + vector % call.heads) * floats;
      if (lane == 0) {
        out[dim] = highest;
        out[dim + 1] = total;
      }
    }
    const float scale = state >= 0 ? 1.0f : 1.0f / total;
    for (int i = lane; i < dim; i += 32) {
      float sum = 0;
      UNROLL
      for (int w = 0; w < warps; ++w) sum = fmaf(weight[w], sums[(w * columns + column) * stride + i], sum);
      out[i] = sum * scale;
    }
  }
};

template <class Keys, class Values, int VT, int NT, int warps>
__global__ void __launch_bounds__(32 * warps, decode_blocks<NT, warps>) decode_chunks(DecodeCall call) {
  using Block = DecodeBlock<Keys, Values, VT, NT, warps>;
  const DeviceBatch& batch = call.batch;
  const int64_t count = int64_t{batch.sizes->items} * call.passes * call.kv.kv_heads;
  for (int64_t index = blockIdx.x; index < count; index += gridDim.x) {
    const int head = static_cast<int>(index % call.kv.kv_heads);
    const int pass = static_cast<int>(index / call.kv.kv_heads % call.passes);
    const int item = static_cast<int>(index / call.kv.kv_heads / call.passes);
    const RowUnit unit = find_unit(batch, item);
    if (pass * Block::columns >= unit.rows * call.group) continue;
    const Block block = {call, unit, head, pass * Block::columns};
    const int chunk = unit.first_chunk + item - unit.first_item, begin = chunk * unit.chunk;
    const Pattern& pattern = call.pattern;
    const bool blocks = has_blocks(pattern, head, call.kv.kv_heads);
    int cut = 0;  // rows whose window begins within the chunk or behind it, or that choose what they attend to
    if (unit.rows > 1 && (pattern.window > 0 || call.choosing))
      for (int r = 0; r < unit.rows; ++r) {
        const VisibleSlots seen = visible_slots(batch, unit.row + r, pattern.window);
        cut += seen.begin > begin || chooses(call, unit.row + r, seen) ? 1 : 0;
      }
    const bool together = unit.rows > 1 && cut == 0;
    // Otherwise each row alone: what it does not see is not even multiplied by nothing.
    for (int first = 0; first < unit.rows;) {
      int end = unit.rows, from = begin, to = begin + unit.chunk, prefix = to, own = 0;
      if (!together) {
        const VisibleSlots seen = visible_slots(batch, unit.row + first, pattern.window);
        own = seen.end - 1;
        const bool some = blocks && own >= 0;
        const int last = some ? BlockOrder(pattern, head, own / pattern.block).count(seen.end) : seen.end;
        end = first + 1;
        from = max(seen.begin, from);
        to = chooses(call, unit.row + first, seen) ? from : min(last, to);
        prefix = seen.prefix;
      }
      if (from < to) {
        const StripPlace place(batch, call.kv, unit.row, call.layer, head);
        const StripWork work = {unit.row + first, from, to, prefix, pattern, blocks, head, own};
        block.attend(first, end, work, place, chunk);
      }
      first = end;
    }
  }
}

// Blocks of the device at the same time; 0: not even one has room.
template <int NT, int warps>
int resident_blocks(const DeviceRun& run, size_t shared) {
  constexpr size_t columns = 8 * NT, most = decode_blocks<NT, warps>;
  const size_t own = 8 * columns + 8 * columns * warps + 1024;  // static, and what a block costs
  const size_t resident = static_cast<size_t>(run.device->shared_bytes + 1024) / (shared + own);
  return run.device->multiprocessors * static_cast<int>(resident < most ? resident : most);
}

template <class Keys, class Values, int VT, int NT, int warps>
bool start_decode(const DeviceRun& run, DecodeCall call) {
  using Block = DecodeBlock<Keys, Values, VT, NT, warps>;
  const size_t shared = Block::shared_bytes(call.kv.key_dim, call.kv.value_dim);
  const int blocks = resident_blocks<NT, warps>(run, shared);
  if (blocks == 0) return false;
  const int rows = run.batch.kind == RowsKind::alone ? 1 : rows_of_a_unit;
  call.passes = (rows * call.group + Block::columns - 1) / Block::columns;
  launch<decode_chunks<Keys, Values, VT, NT, warps>>(
      Launch{dim3(static_cast<unsigned>(blocks)), dim3(Block::threads), shared, run.stream}, call);
  return true;
}

// The widest kernel that the unit's query vectors fill and that fits.
template <class Keys, class Values, int VT, int NT, int warps>
bool start_widest(const DeviceRun& run, const DecodeCall& call) {
  const int vectors = (run.batch.kind == RowsKind::alone ? 1 : rows_of_a_unit) * call.group;
  return (vectors > 8 && start_decode<Keys, Values, VT, NT, warps>(run, call)) ||
         start_decode<Keys, Values, VT, 1, warps>(run, call);
}

}  // namespace vivace::cuda
