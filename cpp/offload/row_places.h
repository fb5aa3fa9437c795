// What kernels know of offloaded layers: how they ask for rows. Nothing of the standard library, for files compiled per
// instruction-set level.
#pragma once
#include <cstddef>
#include <cstdint>

namespace vivace {

class OffloadedLayers;

struct RowPlace {
  int32_t page, slot;  // a page of the cache, and a cell in it
};

inline constexpr int most_rows_held = 512;

// Rows of one head that a member attends to at a time, with `threads` members.
int rows_held_at_once(const OffloadedLayers& offloaded, int threads);
// Waits until these rows of a head are in memory, where they stay until they are let go; rows[i]: where number i lies,
// the value behind its key. False: one of them cannot be had, and nothing is held. `held` is the caller's, [count].
bool hold_rows(OffloadedLayers& offloaded, int layer, int head, const RowPlace* places, int count,
               const std::byte** rows, int32_t* held);
void let_rows_go(OffloadedLayers& offloaded, const int32_t* held, int count);
// The same rows may be wanted soon.
void fetch_rows_ahead(OffloadedLayers& offloaded, int layer, int head, const RowPlace* places, int count);

}  // namespace vivace
