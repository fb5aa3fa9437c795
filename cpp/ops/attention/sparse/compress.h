// Places of large values side by side, where the processor has an instruction for that. For files compiled per
// instruction-set level.
#pragma once
#include "core/simd.h"

namespace vivace::VIVACE_ISA {

#if defined(__AVX512F__)
#define VIVACE_COMPRESS

// Writes first + i for every lane i that is at least `least`, side by side; how many. A vector is written in any case.
inline int places_not_less(F32 a, float least, int32_t first, int32_t* out) {
  const __mmask16 found = _mm512_cmp_ps_mask(a.v, _mm512_set1_ps(least), _CMP_GE_OQ);
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i places = _mm512_add_epi32(lanes, _mm512_set1_epi32(first));
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(found, places));
  return _mm_popcnt_u32(found);
}
#endif

}  // namespace vivace::VIVACE_ISA
