// Body of quantize_tokens, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/row_scaled/quantize_tokens.h"

#include <cstring>

#include "core/simd/half.h"

namespace vivace::VIVACE_ISA {
namespace {

constexpr int64_t piece = 64;  // values at a time, a whole number of vectors on every level

// The largest |x| as the bits of a float. Whole-number arithmetic throughout, as in quantize_rows: compilers turn each
// loop into vectors, and every level rounds alike.
uint32_t largest(const float* x, int64_t columns) {
  uint32_t top = 0;
  for (int64_t i = 0; i < columns; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, 4);
    bits &= 0x7fffffff;
    top = bits > top ? bits : top;
  }
  return top;
}

// Returns the sum of the codes.
int32_t quantize(const float* x, int64_t count, float inverse, int8_t* out) {
  // Adding 1.5 · 2^23 leaves the nearest whole number in the low bits.
  float shifted[piece];
  int32_t codes[piece], sum = 0;
  for (int64_t i = 0; i < count; ++i) shifted[i] = x[i] * inverse + 12582912.0f;
  std::memcpy(codes, shifted, static_cast<size_t>(count) * 4);
  for (int64_t i = 0; i < count; ++i) {
    codes[i] -= 0x4b400000;
    sum += codes[i];
  }
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<int8_t>(codes[i]);
  return sum;
}

void quantize_row(const float* x, int64_t columns, std::byte* out) {
  TokenScale header{1.0f, 0};
  auto* codes = reinterpret_cast<int8_t*>(out + token_header);
  const uint32_t top = largest(x, columns);
  if (top < 0x0d800000 || top >= 0x7f800000) {  // 2^-100, infinity
    std::memset(codes, 0, static_cast<uint32_t>(columns));
    if (top >= 0x7f800000) header.scale = f32_from_bits(0x7fc00000);
  } else {
    const float inverse = 127.0f / f32_from_bits(top);
    header.scale = f32_from_bits(top) / 127.0f;
    int64_t i = 0;
    for (; i + piece <= columns; i += piece) header.sum += quantize(x + i, piece, inverse, codes + i);
    if (i < columns) header.sum += quantize(x + i, columns - i, inverse, codes + i);
  }
  std::memcpy(out, &header, sizeof(header));
}

}  // namespace

void quantize_tokens(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &y = run.outputs[0];
  int64_t begin, end;
  team.range(x.rows, 1, begin, end);
  for (int64_t row = begin; row < end; ++row) quantize_row(x.row<const float>(row), x.columns, y.row<std::byte>(row));
}

}  // namespace vivace::VIVACE_ISA
