// W?A16 and W?A8: rounding to nearest with one scale per row or group, and back. Codes are rounded against the scale as
// it is stored.
#include "quant/row_scaled.h"

#include <algorithm>
#include <cmath>

#include "quant/registry.h"
#include "quant/search.h"

namespace vivace {
namespace {

uint8_t* as_bytes(std::byte* p) {
  return reinterpret_cast<uint8_t*>(p);
}
const uint8_t* as_bytes(const std::byte* p) {
  return reinterpret_cast<const uint8_t*>(p);
}

float largest(const float* values, int64_t count) {
  float found = 0;
  for (int64_t i = 0; i < count; ++i) found = std::max(found, std::fabs(values[i]));
  return found;
}

int get_nibble(const uint8_t* codes, int64_t i) {
  return i % 2 == 0 ? codes[i / 2] & 15 : codes[i / 2] >> 4;
}

void put_nibble(uint8_t* codes, int64_t i, int code) {
  uint8_t& byte = codes[i / 2];
  byte = static_cast<uint8_t>(i % 2 == 0 ? code : byte | code << 4);
}

float inverse(float x) {
  return x < 0x1p-126f ? 0 : 1 / x;
}

// W?A16. Symmetric: all 2^bits codes lie evenly around zero (scale = 2 max / (2^bits - 1)) for four bits; for eight,
// scale = max / 127. The scale is a 16-bit float, as files have it.
template <int bits>
void quantize_group(const float* values, int64_t count, uint32_t& word, uint8_t* codes) {
  const float top = largest(values, count);
  const float scale = f32_from_f16(f16_from_f32(bits == 4 ? top * 2 / 15 : top / 127));
  const float factor = inverse(scale);
  word = scale_word(scale, bits == 4 ? 8 : 0);
  for (int64_t i = 0; i < count; ++i) {
    const float exact = values[i] * factor;
    if constexpr (bits == 4)
      put_nibble(codes, i, clamp_code(nearest(std::clamp(exact, -16.0f, 16.0f)) + 8, 0, 15));
    else
      codes[i] = static_cast<uint8_t>(clamp_code(nearest(std::clamp(exact, -200.0f, 200.0f)), -127, 127));
  }
}

template <int bits>
void dequantize_group(uint32_t word, const uint8_t* codes, int64_t count, float* values) {
  const float scale = word_scale(word);
  const int zero = word_zero(word, bits == 8);
  for (int64_t i = 0; i < count; ++i) {
    const int code = bits == 4 ? get_nibble(codes, i) : static_cast<int8_t>(codes[i]);
    values[i] = scale * static_cast<float>(code - zero);
  }
}

// `group` 0: one group per row.
template <int bits, int group>
void quantize_a16(const float* values, std::byte* blocks, int64_t columns) {
  const int64_t width = group == 0 ? columns : group;
  uint8_t* out = as_bytes(blocks);
  for (int64_t start = 0; start < columns; start += width) {
    uint32_t word;
    quantize_group<bits>(values + start, width, word, out + 4);
    std::memcpy(out, &word, 4);
    out += 4 + width * bits / 8;
  }
}

template <int bits, int group>
void dequantize_a16(const std::byte* blocks, float* values, int64_t columns) {
  const int64_t width = group == 0 ? columns : group;
  const uint8_t* in = as_bytes(blocks);
  for (int64_t start = 0; start < columns; start += width) {
    dequantize_group<bits>(load_word(in), in + 4, width, values + start);
    in += 4 + width * bits / 8;
  }
}

// Rounded once.
float value_of(RowScale row, int code) {
  return static_cast<float>(static_cast<double>(row.scale) * code - static_cast<double>(row.shift));
}

void quantize_w8a8(const float* values, std::byte* blocks, int64_t columns) {
  const RowScale row{largest(values, columns) / 127, 0};
  const float factor = inverse(row.scale);
  std::memcpy(blocks, &row, sizeof(row));
  uint8_t* codes = as_bytes(blocks) + sizeof(row);
  for (int64_t i = 0; i < columns; ++i)
    codes[i] = static_cast<uint8_t>(clamp_code(nearest(values[i] * factor), -127, 127));
}

void dequantize_w8a8(const std::byte* blocks, float* values, int64_t columns) {
  const RowScale row = load_row_scale(blocks);
  const uint8_t* codes = as_bytes(blocks) + sizeof(row);
  for (int64_t i = 0; i < columns; ++i) values[i] = value_of(row, static_cast<int8_t>(codes[i]));
}

// Asymmetric over the range of the row, which is made to hold zero.
void quantize_w4a8(const float* values, std::byte* blocks, int64_t columns) {
  float low = 0, high = 0;
  for (int64_t i = 0; i < columns; ++i) {
    low = std::min(low, values[i]);
    high = std::max(high, values[i]);
  }
  const float scale = (high - low) / 15, factor = inverse(scale);
  const int zero = clamp_code(nearest(-low * factor), 0, 15);
  const RowScale row{scale, scale * static_cast<float>(zero)};
  std::memcpy(blocks, &row, sizeof(row));
  uint8_t* codes = as_bytes(blocks) + sizeof(row);
  for (int64_t i = 0; i < columns; ++i) put_nibble(codes, i, clamp_code(nearest(values[i] * factor) + zero, 0, 15));
}

void dequantize_w4a8(const std::byte* blocks, float* values, int64_t columns) {
  const RowScale row = load_row_scale(blocks);
  const uint8_t* codes = as_bytes(blocks) + sizeof(row);
  for (int64_t i = 0; i < columns; ++i) values[i] = value_of(row, get_nibble(codes, i));
}

// Twice quantised, as QServe's QoQ does it: to eight bits within ±119 per row, those to four bits per group with
// integer scales. 119 leaves room for the second rounding, so that no code leaves eight bits.
void quantize_w4a8_g128(const float* values, std::byte* blocks, int64_t columns) {
  const RowScale row{largest(values, columns) / 119, 0};
  const float factor = inverse(row.scale);
  std::memcpy(blocks, &row, sizeof(row));
  auto* block = reinterpret_cast<BlockW4A8*>(blocks + sizeof(row));
  for (int64_t start = 0; start < columns; start += 128, ++block) {
    int codes[128], low = 0, high = 0;  // the range holds zero, or constant groups would lie outside
    for (int i = 0; i < 128; ++i) {
      codes[i] = clamp_code(nearest(values[start + i] * factor), -119, 119);
      low = std::min(low, codes[i]);
      high = std::max(high, codes[i]);
    }
    const int scale = std::max(1, nearest(static_cast<float>(high - low) / 15));
    const int zero = clamp_code(nearest(static_cast<float>(-low) / static_cast<float>(scale)), 0, 15);
    block->scale = static_cast<uint8_t>(scale);
    block->zero = static_cast<int8_t>(-scale * zero);
    for (int i = 0; i < 128; ++i) {
      const int code = nearest(static_cast<float>(codes[i]) / static_cast<float>(scale)) + zero;
      put_nibble(block->codes, i, clamp_code(code, 0, 15));
    }
  }
}

void dequantize_w4a8_g128(const std::byte* blocks, float* values, int64_t columns) {
  const RowScale row = load_row_scale(blocks);
  const auto* block = reinterpret_cast<const BlockW4A8*>(blocks + sizeof(row));
  for (int64_t start = 0; start < columns; start += 128, ++block)
    for (int i = 0; i < 128; ++i) {
      const auto code = static_cast<int8_t>(block->scale * get_nibble(block->codes, i) + block->zero);
      values[start + i] = value_of(row, code);
    }
}

}  // namespace

const QuantType w8a16_type = {DType::W8A16, quantize_a16<8, 0>, dequantize_a16<8, 0>};
const QuantType w8a16_g32_type = {DType::W8A16_G32, quantize_a16<8, 32>, dequantize_a16<8, 32>};
const QuantType w8a16_g64_type = {DType::W8A16_G64, quantize_a16<8, 64>, dequantize_a16<8, 64>};
const QuantType w8a16_g128_type = {DType::W8A16_G128, quantize_a16<8, 128>, dequantize_a16<8, 128>};
const QuantType w4a16_type = {DType::W4A16, quantize_a16<4, 0>, dequantize_a16<4, 0>};
const QuantType w4a16_g32_type = {DType::W4A16_G32, quantize_a16<4, 32>, dequantize_a16<4, 32>};
const QuantType w4a16_g64_type = {DType::W4A16_G64, quantize_a16<4, 64>, dequantize_a16<4, 64>};
const QuantType w4a16_g128_type = {DType::W4A16_G128, quantize_a16<4, 128>, dequantize_a16<4, 128>};
const QuantType w8a8_type = {DType::W8A8, quantize_w8a8, dequantize_w8a8};
const QuantType w4a8_type = {DType::W4A8, quantize_w4a8, dequantize_w4a8};
const QuantType w4a8_g128_type = {DType::W4A8_G128, quantize_w4a8_g128, dequantize_w4a8_g128};

}  // namespace vivace
