// The loops behind measure_ceilings, compiled once per instruction-set level: enough independent chains to fill the
// units, nothing else.
#include <cstdint>

#include "core/ceilings.h"
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace vivace::VIVACE_ISA {
namespace {

constexpr int chains = 12;

uint64_t read(const std::uint8_t* data, int64_t bytes) {
#if defined(__AVX512F__)
  __m512i sum[4] = {};
  for (int64_t i = 0; i + 256 <= bytes; i += 256)
    for (int k = 0; k < 4; ++k) sum[k] = _mm512_add_epi64(sum[k], _mm512_loadu_si512(data + i + 64 * k));
  return static_cast<uint64_t>(
      _mm512_reduce_add_epi64(_mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3]))));
#else
  uint64_t sum[8] = {};
  const uint64_t* words = reinterpret_cast<const uint64_t*>(data);
  for (int64_t i = 0; i + 8 <= bytes / 8; i += 8)
    for (int k = 0; k < 8; ++k) sum[k] += words[i + k];
  uint64_t total = 0;
  for (uint64_t part : sum) total += part;
  return total;
#endif
}

float float_multiply_add(int64_t rounds, int64_t& operations) {
#if defined(__AVX512F__)
  __m512 sum[chains], a = _mm512_set1_ps(1.0f), b = _mm512_set1_ps(1e-9f);
  for (int k = 0; k < chains; ++k) sum[k] = _mm512_set1_ps(static_cast<float>(k));
  for (int64_t i = 0; i < rounds; ++i)
    for (int k = 0; k < chains; ++k) sum[k] = _mm512_fmadd_ps(sum[k], a, b);
  operations = rounds * chains * 16 * 2;
  for (int k = 1; k < chains; ++k) sum[0] = _mm512_add_ps(sum[0], sum[k]);
  return _mm512_reduce_add_ps(sum[0]);
#elif defined(__AVX2__)
  __m256 sum[chains], a = _mm256_set1_ps(1.0f), b = _mm256_set1_ps(1e-9f);
  for (int k = 0; k < chains; ++k) sum[k] = _mm256_set1_ps(static_cast<float>(k));
  for (int64_t i = 0; i < rounds; ++i)
    for (int k = 0; k < chains; ++k) sum[k] = _mm256_fmadd_ps(sum[k], a, b);
  operations = rounds * chains * 8 * 2;
  for (int k = 1; k < chains; ++k) sum[0] = _mm256_add_ps(sum[0], sum[k]);
  return _mm256_cvtss_f32(sum[0]);
#else
  float sum[chains * 4];
  for (int k = 0; k < chains * 4; ++k) sum[k] = static_cast<float>(k);
  for (int64_t i = 0; i < rounds; ++i)
    for (int k = 0; k < chains * 4; ++k) sum[k] = sum[k] * 1.0f + 1e-9f;
  operations = rounds * chains * 4 * 2;
  float total = 0;
  for (float part : sum) total += part;
  return total;
#endif
}

int32_t int8_multiply_add(int64_t rounds, int64_t& operations) {
#if defined(__AVX512VNNI__)
  __m512i sum[chains], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (int k = 0; k < chains; ++k) sum[k] = _mm512_set1_epi32(k);
  for (int64_t i = 0; i < rounds; ++i)
    for (int k = 0; k < chains; ++k) sum[k] = _mm512_dpbusd_epi32(sum[k], a, b);
  operations = rounds * chains * 64 * 2;
  for (int k = 1; k < chains; ++k) sum[0] = _mm512_add_epi32(sum[0], sum[k]);
  return _mm512_reduce_add_epi32(sum[0]);
#elif defined(__AVX2__)
  // Two maddubs are added in 16 bits before they are widened, as a 4-bit kernel can; the accumulator of each chain
  // feeds the next operand, so that the compiler cannot hoist the products.
  __m256i sum[chains], b = _mm256_set1_epi8(1), one = _mm256_set1_epi16(1);
  for (int k = 0; k < chains; ++k) sum[k] = _mm256_set1_epi32(k);
  for (int64_t i = 0; i < rounds; ++i)
    for (int k = 0; k < chains; ++k)
      sum[k] = _mm256_add_epi32(sum[k], _mm256_madd_epi16(_mm256_maddubs_epi16(b, sum[k]), one));
  operations = rounds * chains * 32 * 2;
  for (int k = 1; k < chains; ++k) sum[0] = _mm256_add_epi32(sum[0], sum[k]);
  return _mm256_extract_epi32(sum[0], 0);
#elif defined(__ARM_FEATURE_MATMUL_INT8)
  int32x4_t sum[chains];
  const int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
  for (int k = 0; k < chains; ++k) sum[k] = vdupq_n_s32(k);
  for (int64_t i = 0; i < rounds; ++i)
    for (int k = 0; k < chains; ++k) sum[k] = vmmlaq_s32(sum[k], a, b);
  operations = rounds * chains * 32 * 2;
  for (int k = 1; k < chains; ++k) sum[0] = vaddq_s32(sum[0], sum[k]);
  return vaddvq_s32(sum[0]);
#elif defined(__ARM_FEATURE_DOTPROD)
  int32x4_t sum[chains];
  const int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
  for (int k = 0; k < chains; ++k) sum[k] = vdupq_n_s32(k);
  for (int64_t i = 0; i < rounds; ++i)
    for (int k = 0; k < chains; ++k) sum[k] = vdotq_s32(sum[k], a, b);
  operations = rounds * chains * 16 * 2;
  for (int k = 1; k < chains; ++k) sum[0] = vaddq_s32(sum[0], sum[k]);
  return vaddvq_s32(sum[0]);
#else
  // SSE2's 16-bit multiply-add is what a level without 8-bit dot products has.
  int32_t sum[chains * 4];
  for (int k = 0; k < chains * 4; ++k) sum[k] = k;
  for (int64_t i = 0; i < rounds; ++i)
    for (int k = 0; k < chains * 4; ++k) sum[k] += static_cast<int16_t>(sum[k]) * static_cast<int16_t>(i);
  operations = rounds * chains * 4 * 2;
  int32_t total = 0;
  for (int32_t part : sum) total += part;
  return total;
#endif
}

}  // namespace

const CeilingLoops ceiling_loops = {read, float_multiply_add, int8_multiply_add};

}  // namespace vivace::VIVACE_ISA
