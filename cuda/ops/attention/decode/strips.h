// Strips: sixteen slots whose keys and values a warp copies into shared memory as they are stored. Pages have a
// multiple of sixteen cells, so a strip of neighbouring cells lies in one page, and begins and ends at addresses that
// 16 divides.
#pragma once
#include "cuda/core/copy.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/attention/pages.h"

namespace vivace::cuda {

inline constexpr int strip_slots = 16, strip_stages = 2;
inline constexpr float log2_e = 1.4426950408889634f;

// The caches that the kernels on tensor cores take.
inline bool fits_strips(const DeviceKv& kv) {
  return kv.page_size % strip_slots == 0 && kv.key_dim % 16 == 0 && kv.value_dim % 16 == 0 && kv.key_dim <= 256 &&
         kv.value_dim <= 256;
}

// Slots [from, to) of a row in one KV head, in the order of its pattern. Of the row's own slots those below `prefix`
// are the cells of the same number, and `own` is the last.
struct StripWork {
  int64_t row;
  int from, to, prefix;
  const Pattern& pattern;
  bool blocks;
  int head, own;

  // Whether slots up to `end` are neighbouring cells; and the cell of any slot before it.
  __device__ bool plain(int end) const { return !blocks && end <= prefix; }
  __device__ int cell(const DeviceBatch& batch, int slot, int end) const {
    if (blocks) {
      const int seen = BlockOrder(pattern, head, own / pattern.block).own_slot(slot < end ? slot : end - 1);
      return seen < prefix ? seen : tree_cell(batch, row, prefix, seen - prefix);
    }
    return slot < prefix ? slot : slot < end ? tree_cell(batch, row, prefix, slot - prefix) : 0;
  }
};

// Pages of a row's sequence, and where keys and values of a layer and head begin in them. Of pages that come before
// what is skipped there are none here, unless it is for those alone.
struct StripPlace {
  std::byte* const* pages;  // by their number
  int64_t keys, values;

  __device__ StripPlace(const DeviceBatch& batch, const DeviceKv& kv, int64_t row, int layer, int head,
                        bool skipping = true)
      : StripPlace(batch, kv, row, place_of(kv, layer, head), skipping) {}
  __device__ StripPlace(const DeviceBatch& batch, const DeviceKv& kv, int64_t row, const VivaceDevicePlace& place,
                        bool skipping) {
    const PageTable table(batch, kv, row, place);
    pages = table.pages - (skipping ? table.skipped : 0);
    keys = place.key;
    values = place.value;
  }
  // Of a cache whose pages have all layers and heads: nothing is held that is not easily computed again.
  __device__ static StripPlace in_whole(const DeviceBatch& batch, const DeviceKv& kv, int64_t row, int layer,
                                        int head) {
    DeviceKv whole = kv;
    whole.places = nullptr;
    return {batch, whole, row, layer, head};
  }
};

// A stage of a warp's ring: rows of keys, rows of values, and each row's cell modulo 16, from which it follows how far
// behind an address that 16 divides it begins.
struct StripStage {
  Shared<uint8_t> keys, values;
  Shared<int32_t> cells;
};

template <class Keys, class Values>
struct StripRing {
  int key_slot, value_slot;  // bytes of a row in shared memory

  __host__ __device__ StripRing(int key_dim, int value_dim)
      : key_slot(Keys::slot_bytes(key_dim)), value_slot(Values::slot_bytes(value_dim)) {}
  __host__ __device__ int stage_bytes() const { return strip_slots * (key_slot + value_slot) + 4 * strip_slots; }
  __device__ StripStage stage(int warp, int turn) const {
    const auto begin = static_cast<size_t>((warp * strip_stages + turn % strip_stages) * stage_bytes());
    const auto keys = static_cast<size_t>(strip_slots * key_slot),
               values = static_cast<size_t>(strip_slots * value_slot);
    return {dynamic_shared<uint8_t>(begin, keys), dynamic_shared<uint8_t>(begin + keys, values),
            dynamic_shared<int32_t>(begin + keys + values, strip_slots)};
  }
};

// A row to its slot, eight lanes together; zeros when it is not there.
__device__ inline void copy_strip_row(const Shared<uint8_t>& slots, int at, const std::byte* from, int shift, int bytes,
                                      bool there) {
  const int chunks = (shift + bytes + 15) / 16;
  for (int c = static_cast<int>(threadIdx.x % 8); c < chunks; c += 8)
    copy_async<16>(slots, static_cast<size_t>(at + 16 * c), from + 16 * c - shift, there);
}

// Starts the copies of strip `number` into a stage. Called by a whole warp.
template <class Keys, class Values, class Work>
__device__ inline void copy_strip(const DeviceBatch& batch, const DeviceKv& kv, const StripPlace& place,
                                  const StripRing<Keys, Values>& ring, const StripStage& stage, const Work& work,
                                  int number) {
  const int lane = static_cast<int>(threadIdx.x % 32), first = number * strip_slots;
  const int end = first + strip_slots < work.to ? first + strip_slots : work.to;
  const bool plain = work.plain(end);
  // Of the slot of this lane; of slots that are not there anything, nothing is read of them.
  int cell = first + lane % strip_slots;
  if (!plain) cell = work.cell(batch, cell, end);
  if (lane < strip_slots && (Keys::shifted || Values::shifted)) stage.cells[lane] = cell % strip_slots;
  // One that is there.
  const int some = plain ? 0 : __shfl_sync(0xffffffffu, cell, work.from > first ? work.from - first : 0);
  const std::byte* page = plain ? place.pages[first / kv.page_size] : nullptr;
  const int within = first % kv.page_size;
  ROLLED
  for (int j = 0; j < strip_slots / 4; ++j) {
    const int r = lane / 8 + 4 * j, slot = first + r;
    const bool there = slot >= work.from && slot < end;
    int own = within + r;
    const std::byte* base = page;
    if (!plain) {
      const int other = __shfl_sync(0xffffffffu, cell, r);
      own = other % kv.page_size;
      base = place.pages[(there ? other : some) / kv.page_size];
    }
    const int key_shift = Keys::shifted ? static_cast<int>(own * kv.key_row & 15) : 0;
    const int value_shift = Values::shifted ? static_cast<int>(own * kv.value_row & 15) : 0;
    copy_strip_row(stage.keys, r * ring.key_slot, base + place.keys + own * kv.key_row, key_shift,
                   static_cast<int>(kv.key_row), there);
    copy_strip_row(stage.values, r * ring.value_slot, base + place.values + own * kv.value_row, value_shift,
                   static_cast<int>(kv.value_row), there);
  }
}

}  // namespace vivace::cuda
