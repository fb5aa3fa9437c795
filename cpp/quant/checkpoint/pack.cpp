// Canonical codes into the rows of each stored type.
#include <cmath>
#include <cstring>
#include <vector>

#include "quant/checkpoint/checkpoint.h"
#include "quant/row_scaled.h"

namespace vivace {
namespace {

// One row, its codes in order and unsigned.
struct Row {
  const Checkpoint& source;
  int64_t index;
  const uint8_t* codes;
};

void pack_nibbles(const uint8_t* codes, int64_t count, uint8_t* out) {
  for (int64_t i = 0; i + 1 < count; i += 2) out[i / 2] = static_cast<uint8_t>(codes[i] | codes[i + 1] << 4);
}

// W?A16: `width` columns per word. The file's groups are as wide or a multiple of it.
template <int bits>
bool pack_a16(const Row& row, int64_t width, uint8_t* out) {
  const Checkpoint& source = row.source;
  for (int64_t k = 0; k < source.columns; k += width) {
    const float scale = checkpoint_scale(source, row.index, k / source.group);
    if (!std::isfinite(scale)) return false;
    const int zero = checkpoint_zero(source, row.index, k / source.group) - (bits == 8 ? 128 : 0);
    const uint32_t word = scale_word(scale, zero);
    std::memcpy(out, &word, 4);
    if constexpr (bits == 4)
      pack_nibbles(row.codes + k, width, out + 4);
    else
      for (int64_t i = 0; i < width; ++i) out[4 + i] = row.codes[k + i] ^ 0x80;
    out += 4 + width * bits / 8;
  }
  return true;
}

uint8_t* put_scale(RowScale scale, uint8_t* out) {
  std::memcpy(out, &scale, sizeof(scale));
  return out + sizeof(scale);
}

bool pack_w8a8(const Row& row, uint8_t* out) {
  const Checkpoint& source = row.source;
  const float scale = checkpoint_scale(source, row.index, 0);
  if (!std::isfinite(scale)) return false;
  if (source.layout != CheckpointLayout::qqq) {
    out = put_scale({scale, scale * static_cast<float>(checkpoint_zero(source, row.index, 0) - 128)}, out);
    for (int64_t k = 0; k < source.columns; ++k) out[k] = row.codes[k] ^ 0x80;
    return true;
  }
  // QQQ with groups: its kernel rounds (code - 8) · group scale to eight bits, halves to even.
  out = put_scale({scale, 0}, out);
  const int64_t place = row.index / 64 * 64 + 8 * (row.index % 8) + row.index % 64 / 8;
  for (int64_t k = 0; k < source.columns; k += source.group) {
    uint16_t bits;
    std::memcpy(&bits, source.group_scales + 2 * (k / source.group * source.rows + place), 2);
    const float group_scale = f32_from_f16(bits);
    if (!(std::fabs(group_scale) <= 128)) return false;
    for (int64_t i = k; i < k + source.group; ++i)
      out[i] = static_cast<uint8_t>(std::lrint(static_cast<float>(row.codes[i] - 8) * group_scale));
  }
  return true;
}

bool pack_w4a8(const Row& row, uint8_t* out) {
  const Checkpoint& source = row.source;
  const float scale = checkpoint_scale(source, row.index, 0);
  float shift = scale * static_cast<float>(source.zero);
  if (source.layout == CheckpointLayout::qserve) {
    uint16_t bits;
    std::memcpy(&bits, source.zeros + 2 * row.index, 2);
    shift = f32_from_f16(bits);
  }
  if (!std::isfinite(scale) || !std::isfinite(shift)) return false;
  pack_nibbles(row.codes, source.columns, put_scale({scale, shift}, out));
  return true;
}

bool pack_w4a8_g128(const Row& row, uint8_t* out) {
  const Checkpoint& source = row.source;
  const float scale = checkpoint_scale(source, row.index, 0);
  if (!std::isfinite(scale)) return false;
  auto* block = reinterpret_cast<BlockW4A8*>(put_scale({scale, 0}, out));
  // Among 32 rows, place 4a + b holds row 8b + a.
  const int64_t place = row.index / 32 * 32 + 4 * (row.index % 8) + row.index % 32 / 8;
  for (int64_t k = 0; k < source.columns; k += 128, ++block) {
    const int64_t at = k / 128 * source.rows + place;
    block->scale = static_cast<uint8_t>(source.group_scales[at]);
    block->zero = static_cast<int8_t>(source.zeros[at]);
    if (block->scale > 17) return false;
    pack_nibbles(row.codes + k, 128, block->codes);
  }
  return true;
}

bool pack_row(const Row& row, DType stored, uint8_t* out) {
  switch (stored) {
    case DType::W8A16:
      return pack_a16<8>(row, row.source.columns, out);
    case DType::W8A16_G32:
      return pack_a16<8>(row, 32, out);
    case DType::W8A16_G64:
      return pack_a16<8>(row, 64, out);
    case DType::W8A16_G128:
      return pack_a16<8>(row, 128, out);
    case DType::W4A16:
      return pack_a16<4>(row, row.source.columns, out);
    case DType::W4A16_G32:
      return pack_a16<4>(row, 32, out);
    case DType::W4A16_G64:
      return pack_a16<4>(row, 64, out);
    case DType::W4A16_G128:
      return pack_a16<4>(row, 128, out);
    case DType::W8A8:
      return pack_w8a8(row, out);
    case DType::W4A8:
      return pack_w4a8(row, out);
    case DType::W4A8_G128:
      return pack_w4a8_g128(row, out);
    default:
      return false;
  }
}

}  // namespace

bool convert_checkpoint(const Checkpoint& source, DType stored, int64_t begin, int64_t end, std::byte* out) {
  const int64_t columns = source.columns, stride = row_bytes(stored, columns);
  std::vector<uint8_t> tile(static_cast<size_t>(checkpoint_tile * columns)), sorted(static_cast<size_t>(columns));
  for (int64_t first = begin; first < end; first += checkpoint_tile) {
    const int64_t last = first + checkpoint_tile < end ? first + checkpoint_tile : end;
    unpack_codes(source, first, last, tile.data());
    for (int64_t row = first; row < last; ++row) {
      const uint8_t* codes = tile.data() + (row - first) * columns;
      if (source.order != nullptr) {
        for (int64_t k = 0; k < columns; ++k) sorted[static_cast<size_t>(k)] = codes[source.order[k]];
        codes = sorted.data();
      }
      if (!pack_row({source, row, codes}, stored, reinterpret_cast<uint8_t*>(out + (row - begin) * stride)))
        return false;
    }
  }
  return true;
}

}  // namespace vivace
