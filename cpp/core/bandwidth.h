// How fast this machine reads memory: the limit that decoding is measured against.
#pragma once
#include <cstdint>

namespace vivace {

// Bytes per second that `threads` threads read together from a fresh block of `bytes` bytes, best of several passes.
double memory_bandwidth(int threads, int64_t bytes);

}  // namespace vivace
