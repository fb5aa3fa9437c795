// Labels are made one at a time, in plain C++: they cost little beside the key itself, and have the same bits on every
// processor.
#include "caches/labels/labels.h"

#include <cstring>

#include "core/simd/half.h"

namespace vivace {
namespace {

constexpr int most_channels = 1024;

float stored_value(DType dtype, const std::byte* row, int channel) {
  float wide;
  uint16_t half;
  switch (dtype) {
    case DType::F32:
      std::memcpy(&wide, row + 4 * channel, 4);
      return wide;
    case DType::F16:
      std::memcpy(&half, row + 2 * channel, 2);
      return f32_from_f16(half);
    case DType::Q4_0: {
      const std::byte* block = row + channel / 32 * 18;
      std::memcpy(&half, block, 2);
      const int byte = static_cast<int>(block[2 + channel % 16]);
      return f32_from_f16(half) * static_cast<float>((channel % 32 < 16 ? byte & 15 : byte >> 4) - 8);
    }
    default: {  // Q8_0
      const std::byte* block = row + channel / 32 * 34;
      std::memcpy(&half, block, 2);
      return f32_from_f16(half) * static_cast<float>(static_cast<int8_t>(block[2 + channel % 32]));
    }
  }
}

void put_half(std::byte* at, float value) {
  const uint16_t half = f16_from_f32(value);
  std::memcpy(at, &half, 2);
}

// Nothing that is not a number becomes a code: a label of such a key has a step that is none either.
int code_of(float ratio, int least, int most) {
  const float shifted = ratio + (ratio < 0.0f ? -0.5f : 0.5f);
  if (!(shifted > static_cast<float>(least))) return least;
  if (!(shifted < static_cast<float>(most))) return most;
  return static_cast<int>(shifted);
}

}  // namespace

void write_label(const LabelLayout& layout, std::byte* labels, int slot, const int32_t* channels, DType dtype,
                 const std::byte* key) {
  const int64_t size = layout.page_size;
  if (layout.bits == 16) {
    for (int c = 0; c < layout.channels; ++c)
      put_half(labels + 2 * (c * size + slot), stored_value(dtype, key, channels[c]));
    return;
  }
  float x[most_channels], low = 0.0f, high = 0.0f, strange = 0.0f;
  for (int c = 0; c < layout.channels; ++c) {
    x[c] = stored_value(dtype, key, channels[c]);
    low = c == 0 || x[c] < low ? x[c] : low;
    high = c == 0 || x[c] > high ? x[c] : high;
    strange += x[c] * 0.0f;  // NaN if x is NaN or infinite
  }
  const bool centred = layout.bits == 8;
  const int most = centred ? 127 : (1 << layout.bits) - 1;
  if (centred) high = high > -low ? high : -low;
  float step = (centred ? high : high - low) / static_cast<float>(most);
  if (step == 0.0f) step = 1.0f;
  const float base = centred ? 0.0f : low;
  uint32_t word = 0;
  for (int c = 0; c < layout.channels; ++c) {
    const int code = code_of((x[c] - base) / step, centred ? -127 : 0, most);
    const int place = c % layout.per_word();
    word |= (static_cast<uint32_t>(code) & ((1u << layout.bits) - 1)) << (8 * (c % 4) + layout.bits * (place / 4));
    if (place + 1 < layout.per_word() && c + 1 < layout.channels) continue;
    std::memcpy(labels + 4 * (c / layout.per_word() * size + slot), &word, 4);
    word = 0;
  }
  put_half(labels + layout.steps_at() + 2 * slot, step + strange);
  if (!centred) put_half(labels + layout.minima_at() + 2 * slot, low);
}

}  // namespace vivace
