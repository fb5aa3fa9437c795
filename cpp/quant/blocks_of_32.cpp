// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: 32 values with one scale, and in the _1 types a minimum. Codes come from the range of
// the block; the _0 types give the largest value the lowest code, so that the scale may be negative.
#include <algorithm>
#include <cmath>

#include "quant/blocks.h"
#include "quant/row_blocks.h"

namespace vivace {
namespace {

constexpr int width = 32;

// The value that is largest without its sign; the first of equals.
float extreme(const float* values) {
  float found = 0;
  for (int i = 0; i < width; ++i)
    if (std::fabs(values[i]) > std::fabs(found)) found = values[i];
  return found;
}

float inverse(float x) {
  return x == 0 ? 0 : 1 / x;
}

// floor(x) as a code; x is not negative.
int code(float x, int highest) {
  return std::min(highest, static_cast<int>(x));
}

void set_nibble(uint8_t* qs, int i, int q) {
  uint8_t& byte = qs[i % 16];
  byte = static_cast<uint8_t>(i < 16 ? q & 15 : byte | (q & 15) << 4);
}

int nibble(const uint8_t* qs, int i) {
  return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
}

void set_bit(uint8_t* qh, int i, int bit) {
  uint8_t& byte = qh[i / 8];
  byte = static_cast<uint8_t>(i % 8 == 0 ? bit : byte | bit << i % 8);
}

int bit(const uint8_t* qh, int i) {
  return qh[i / 8] >> i % 8 & 1;
}

template <class Block>
constexpr bool has_fifth_bit = requires(Block block) { block.qh; };

template <class Block>
void set_code(Block& block, int i, int q) {
  set_nibble(block.qs, i, q);
  if constexpr (has_fifth_bit<Block>) set_bit(block.qh, i, q >> 4);
}

template <class Block>
int get_code(const Block& block, int i) {
  if constexpr (has_fifth_bit<Block>) return nibble(block.qs, i) | bit(block.qh, i) << 4;
  return nibble(block.qs, i);
}

template <class Block>
void quantize_centred(const float* values, Block& block) {
  constexpr int half = has_fifth_bit<Block> ? 16 : 8;
  const float d = extreme(values) / -half;
  const float scale = inverse(d);
  block.d.set(d);
  for (int i = 0; i < width; ++i) set_code(block, i, code(values[i] * scale + (half + 0.5f), 2 * half - 1));
}

template <class Block>
void dequantize_centred(const Block& block, float* values) {
  constexpr int half = has_fifth_bit<Block> ? 16 : 8;
  const float d = block.d.value();
  for (int i = 0; i < width; ++i) values[i] = d * static_cast<float>(get_code(block, i) - half);
}

template <class Block>
void quantize_with_min(const float* values, Block& block) {
  constexpr int highest = has_fifth_bit<Block> ? 31 : 15;
  const float low = *std::min_element(values, values + width), high = *std::max_element(values, values + width);
  const float d = (high - low) / highest;
  const float scale = inverse(d);
  block.d.set(d);
  block.m.set(low);
  for (int i = 0; i < width; ++i) set_code(block, i, code((values[i] - low) * scale + 0.5f, highest));
}

template <class Block>
void dequantize_with_min(const Block& block, float* values) {
  const float d = block.d.value(), m = block.m.value();
  for (int i = 0; i < width; ++i) values[i] = d * static_cast<float>(get_code(block, i)) + m;
}

void quantize_q8(const float* values, BlockQ8_0& block) {
  const float d = std::fabs(extreme(values)) / 127;
  const float scale = inverse(d);
  block.d.set(d);
  for (int i = 0; i < width; ++i) block.qs[i] = static_cast<int8_t>(std::round(values[i] * scale));
}

void dequantize_q8(const BlockQ8_0& block, float* values) {
  const float d = block.d.value();
  for (int i = 0; i < width; ++i) values[i] = d * static_cast<float>(block.qs[i]);
}

}  // namespace

const QuantType q4_0_type = block_type<BlockQ4_0, width, quantize_centred, dequantize_centred>(DType::Q4_0);
const QuantType q4_1_type = block_type<BlockQ4_1, width, quantize_with_min, dequantize_with_min>(DType::Q4_1);
const QuantType q5_0_type = block_type<BlockQ5_0, width, quantize_centred, dequantize_centred>(DType::Q5_0);
const QuantType q5_1_type = block_type<BlockQ5_1, width, quantize_with_min, dequantize_with_min>(DType::Q5_1);
const QuantType q8_0_type = block_type<BlockQ8_0, width, quantize_q8, dequantize_q8>(DType::Q8_0);

}  // namespace vivace
