// Compares a program's use of the KV cache with the cache it is given: kernels do not check and cannot throw.
#pragma once
#include "caches/paged_kv.h"
#include "program/program.h"

namespace vivace {

// Throws SHAPE_MISMATCH when a kv_write or attention call would read or write beyond the cache's pages.
void check_cache(const Program& program, const PagedKvOptions& cache);

}  // namespace vivace
