// Where each layout keeps the code, the scale and the zero point of a place.
#include <cstring>

#include "quant/checkpoint/checkpoint.h"
#include "quant/row_scaled.h"

namespace vivace {
namespace {

// Place of a row among eight in a word of AWQ, and of an element in a fragment of Marlin: nibble p holds interleave[p].
constexpr int interleave[8] = {0, 2, 4, 6, 1, 3, 5, 7};
constexpr int interleave_place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
constexpr int qqq_interleave[8] = {4, 0, 5, 1, 6, 2, 7, 3};  // without groups

uint32_t word_at(const std::byte* words, int64_t index) {
  return load_word(words + 4 * index);
}

float number_at(const std::byte* numbers, DType type, int64_t index) {
  if (type == DType::F32) return f32_from_bits(load_word(numbers + 4 * index));
  uint16_t bits;
  std::memcpy(&bits, numbers + 2 * index, 2);
  return type == DType::F16 ? f32_from_f16(bits) : f32_from_bf16(bits);
}

// The codes of a word, one to a byte.
void spread(uint32_t word, int bits, uint8_t* out) {
  uint64_t bytes = word;
  if (bits == 8) {
    std::memcpy(out, &word, 4);
    return;
  }
  if (bits == 4) {
    bytes = (bytes | bytes << 16) & 0x0000ffff0000ffffu;
    bytes = (bytes | bytes << 8) & 0x00ff00ff00ff00ffu;
    bytes = (bytes | bytes << 4) & 0x0f0f0f0f0f0f0f0fu;
    std::memcpy(out, &bytes, 8);
    return;
  }
  for (int i = 0; i < 32 / bits; ++i) out[i] = static_cast<uint8_t>(word >> (bits * i) & ((1u << bits) - 1));
}

int field(uint32_t word, int bits, int64_t place) {
  return static_cast<int>(word >> (bits * place) & ((1u << bits) - 1));
}

void unpack_gptq(const Checkpoint& source, int64_t begin, int64_t end, uint8_t* codes) {
  const int64_t per_word = 32 / source.bits;
  for (int64_t k = 0; k < source.columns; k += per_word)
    for (int64_t row = begin; row < end; ++row)
      spread(word_at(source.codes, k / per_word * source.rows + row), source.bits,
             codes + (row - begin) * source.columns + k);
}

// Words of one row of eight lie far apart, those of a column next to each other: blocks of columns keep both in the
// cache.
void unpack_awq(const Checkpoint& source, int64_t begin, int64_t end, uint8_t* codes) {
  constexpr int64_t block = 64;
  const int64_t words = source.rows / 8;
  for (int64_t first = 0; first < source.columns; first += block) {
    const int64_t last = first + block < source.columns ? first + block : source.columns;
    for (int64_t row = begin; row < end; row += 8) {
      uint8_t* out[8];
      for (int p = 0; p < 8; ++p) out[p] = codes + (row - begin + interleave[p]) * source.columns;
      for (int64_t k = first; k < last; ++k) {
        const uint32_t word = word_at(source.codes, k * words + row / 8);
        for (int p = 0; p < 8; ++p) out[p][k] = static_cast<uint8_t>(word >> (4 * p) & 15);
      }
    }
  }
}

void unpack_packed(const Checkpoint& source, int64_t begin, int64_t end, uint8_t* codes) {
  const int64_t per_word = 32 / source.bits, words = (source.columns + per_word - 1) / per_word;
  for (int64_t row = begin; row < end; ++row) {
    uint8_t* out = codes + (row - begin) * source.columns;
    for (int64_t i = 0; i < words; ++i) {
      uint8_t some[16];
      const int64_t left = source.columns - i * per_word;
      spread(word_at(source.codes, row * words + i), source.bits, left < per_word ? some : out + i * per_word);
      if (left < per_word) std::memcpy(out + i * per_word, some, static_cast<size_t>(left));
    }
  }
}

void unpack_bytes(const Checkpoint& source, int64_t begin, int64_t end, uint8_t* codes) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(source.codes) + begin * source.columns;
  for (int64_t i = 0; i < (end - begin) * source.columns; ++i) codes[i] = bytes[i] ^ 0x80;
}

// Word u of a row of tiles: lane (u % 128) / 4 holds part u % 4 of the 64 rows u / 128. See the specification of
// Marlin: element e of a nibble is one of four columns, in the first or second eight rows.
void unpack_marlin(const Checkpoint& source, int64_t begin, int64_t end, uint8_t* codes) {
  const bool qqq = source.layout == CheckpointLayout::qqq;
  const int* order = qqq && source.group_scales == nullptr ? qqq_interleave : interleave;
  constexpr int pairs[4] = {0, 1, 8, 9};
  for (int64_t k = 0; k < source.columns; k += 16)
    for (int64_t u = begin * 2; u < end * 2; ++u) {
      const uint32_t word = word_at(source.codes, k / 16 * (2 * source.rows) + u);
      const int lane = static_cast<int>(u % 128 / 4), part = static_cast<int>(u % 4);
      for (int b = 0; b < 8; ++b) {
        const int element = order[b], within = element % 4;
        const int64_t column = k + (qqq ? 4 * (lane % 4) + within : 2 * (lane % 4) + pairs[within]);
        const int64_t row = 64 * (u / 128) + 16 * part + lane / 4 + 8 * (element / 4);
        int code = field(word, 4, b);
        if (source.signed_codes) code ^= 8;
        codes[(row - begin) * source.columns + column] = static_cast<uint8_t>(code);
      }
    }
}

void unpack_qserve(const Checkpoint& source, int64_t begin, int64_t end, uint8_t* codes) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(source.codes);
  for (int64_t row = begin; row < end; row += 32)
    for (int64_t k = 0; k < source.columns; k += 32) {
      const uint8_t* block = bytes + (row / 32 * (source.columns / 32) + k / 32) * 512;
      for (int i = 0; i < 512; ++i) {
        const int lane = i / 16, y = i % 16;
        const int64_t column = k + 16 * (y / 8) + 4 * (lane % 4) + y % 4;
        uint8_t* out = codes + (row - begin + 8 * (y / 4 % 2) + lane / 4) * source.columns + column;
        out[0] = block[i] & 15;
        out[16 * source.columns] = block[i] >> 4;
      }
    }
}

// Where Marlin keeps the scale of a row: among 64 with groups, else among 32.
int64_t marlin_place(int64_t row, bool grouped) {
  if (grouped) return row / 64 * 64 + 8 * (row % 8) + row % 64 / 8;
  const int64_t r = row % 32;  // 2 · i + one of 0, 1, 8, 9, 16, 17, 24, 25
  return row / 32 * 32 + 8 * (r % 8 / 2) + 2 * (r / 8) + r % 2;
}

}  // namespace

void unpack_codes(const Checkpoint& source, int64_t begin, int64_t end, uint8_t* codes) {
  switch (source.layout) {
    case CheckpointLayout::gptq:
      return unpack_gptq(source, begin, end, codes);
    case CheckpointLayout::awq:
      return unpack_awq(source, begin, end, codes);
    case CheckpointLayout::packed:
      return unpack_packed(source, begin, end, codes);
    case CheckpointLayout::bytes:
      return unpack_bytes(source, begin, end, codes);
    case CheckpointLayout::marlin:
    case CheckpointLayout::qqq:
      return unpack_marlin(source, begin, end, codes);
    case CheckpointLayout::qserve:
      return unpack_qserve(source, begin, end, codes);
  }
}

float checkpoint_scale(const Checkpoint& source, int64_t row, int64_t group) {
  const int64_t groups = source.columns / source.group;
  int64_t index = group * source.rows + row;
  switch (source.layout) {
    case CheckpointLayout::packed:
    case CheckpointLayout::bytes:
      index = row * groups + group;
      break;
    case CheckpointLayout::marlin:
      index = group * source.rows + marlin_place(row, groups > 1);
      break;
    case CheckpointLayout::qqq:
      // Without groups, files divide it by 16, because their kernel multiplies with nibbles in the high half of a byte.
      return number_at(source.scales, DType::F32, marlin_place(row, false)) *
             (source.group_scales == nullptr ? 16.0f : 1.0f);
    case CheckpointLayout::qserve:
      index = row;
      break;
    default:
      break;
  }
  return number_at(source.scales, source.scale_type, index);
}

int checkpoint_zero(const Checkpoint& source, int64_t row, int64_t group) {
  if (source.zeros == nullptr) return source.zero;
  const int64_t groups = source.columns / source.group;
  const int per_word = 32 / source.bits;
  int zero = 0;
  switch (source.layout) {
    case CheckpointLayout::gptq: {
      const int64_t words = (source.rows + per_word - 1) / per_word;
      zero = field(word_at(source.zeros, group * words + row / per_word), source.bits, row % per_word);
      break;
    }
    case CheckpointLayout::awq:
      zero = field(word_at(source.zeros, group * (source.rows / 8) + row / 8), 4, interleave_place[row % 8]);
      break;
    case CheckpointLayout::packed:
      zero = field(word_at(source.zeros, row / per_word * groups + group), source.bits, row % per_word);
      break;
    case CheckpointLayout::bytes:
      zero = static_cast<int8_t>(source.zeros[row * groups + group]) + 128;
      break;
    default:
      break;
  }
  return (zero + (source.zero_plus_one ? 1 : 0)) & ((1 << source.bits) - 1);
}

}  // namespace vivace
