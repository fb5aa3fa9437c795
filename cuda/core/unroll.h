// UNROLL before a loop: nvcc writes it out, so that its arrays stay in registers.
#pragma once

#if defined(__CUDACC__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif
