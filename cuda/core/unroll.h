// UNROLL before a loop: nvcc writes it out, so that its arrays stay in registers. ROLLED: it does not, so that
// registers suffice.
#pragma once

#if defined(__CUDACC__)
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")
#else
#define UNROLL
#define ROLLED
#endif
