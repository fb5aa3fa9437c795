// Sizes of selections by rank that the host must know, too; see select.h.
#pragma once

namespace vivace::cuda {

constexpr int select_buckets = 1024;              // a multiple of the threads of a block
constexpr int select_words = select_buckets + 1;  // uint64 of global memory that a selection wants

}  // namespace vivace::cuda
