// Stored blocks of GGUF's types become fragments on the card.
#include "cuda/quant/block_fragments.h"

#include "cuda/core/launch.h"

namespace vivace::cuda {
namespace {

struct StoredBlocks {
  DType dtype;
  const uint8_t* data;
  int64_t stride, rows, width;

  __device__ bool has(int64_t row, int64_t k) const { return row < rows && k < width; }
  // Of the blocks of cpp/quant/blocks.h.
  __device__ uint32_t code(int64_t row, int64_t k) const {
    if (!has(row, k)) return 0;
    const uint8_t* at = data + row * stride;
    const auto nibble = [&](int64_t byte, bool upper) { return upper ? at[byte] >> 4u : at[byte] & 15u; };
    const int64_t block = k / 256, i = k % 256, j = i / 32, l = i % 32;
    switch (dtype) {
      case DType::Q2_K:
        return at[block * 84 + 16 + j / 4 * 32 + l] >> (j % 4 * 2) & 3u;
      case DType::Q3_K:
        return (at[block * 110 + 32 + j / 4 * 32 + l] >> (j % 4 * 2) & 3u) | (at[block * 110 + l] >> j & 1u) << 2;
      case DType::IQ4_XS:
        return nibble(block * 136 + 8 + j * 16 + l % 16, l >= 16);
      case DType::IQ4_NL:
      case DType::Q4_0:
        return nibble(k / 32 * 18 + 2 + k % 16, l >= 16);
      case DType::Q4_1:
        return nibble(k / 32 * 20 + 4 + k % 16, l >= 16);
      case DType::Q5_0:
        return nibble(k / 32 * 22 + 6 + k % 16, l >= 16) | (at[k / 32 * 22 + 2 + l / 8] >> (l % 8) & 1u) << 4;
      case DType::Q5_1:
        return nibble(k / 32 * 24 + 8 + k % 16, l >= 16) | (at[k / 32 * 24 + 4 + l / 8] >> (l % 8) & 1u) << 4;
      case DType::Q8_0:
        return at[k / 32 * 34 + 2 + l];
      case DType::Q4_K:
        return nibble(block * 144 + 16 + j / 2 * 32 + l, j % 2 == 1);
      case DType::Q5_K:
        return nibble(block * 176 + 48 + j / 2 * 32 + l, j % 2 == 1) | (at[block * 176 + 16 + l] >> j & 1u) << 4;
      default:  // Q6_K
        return nibble(block * 210 + j / 4 * 64 + j % 2 * 32 + l, j % 4 >= 2) |
               (at[block * 210 + 128 + j / 4 * 32 + l] >> (j % 4 * 2) & 3u) << 4;
    }
  }
  // Byte i of what a unit has before its codes; `first` is its strip's first row, k its first column.
  __device__ uint32_t scale_byte(int64_t first, int64_t k, int i) const {
    const auto stored = [&](int64_t row, int64_t column, int block, int size, int byte) -> uint32_t {
      return has(row, column) ? data[row * stride + column / block * size + byte] : 0;
    };
    switch (dtype) {
      case DType::Q2_K:
        if (i >= 128) return stored(first + (i - 128) / 4, k, 256, 84, 80 + i % 4);
        return stored(first + i / 8, k, 256, 84, static_cast<int>(k % 256 / 16) + i % 8);
      case DType::Q3_K: {
        if (i >= 128) return stored(first + (i - 128) / 2, k, 256, 110, 108 + i % 2);
        const int n = static_cast<int>(k % 256 / 16) + i % 8;
        const uint32_t low = stored(first + i / 8, k, 256, 110, 96 + n % 8) >> (n / 8 * 4) & 15;
        const uint32_t high = stored(first + i / 8, k, 256, 110, 104 + n % 4) >> (n / 4 * 2) & 3;
        return (low | high << 4) + 96;  // less 32, plus 128
      }
      case DType::IQ4_XS: {
        if (i >= 64) return stored(first + (i - 64) / 2, k, 256, 136, i % 2);
        const int n = static_cast<int>(k % 256 / 32) + i % 4;
        const uint32_t low = stored(first + i / 4, k, 256, 136, 4 + n / 2) >> (n % 2 * 4) & 15;
        const uint32_t high = stored(first + i / 4, k, 256, 136, 2 + n / 4) >> (n % 4 * 2) & 3;
        return (low | high << 4) + 96;
      }
      case DType::IQ4_NL:
      case DType::Q4_0:
        return stored(first + i / 8, k + i % 8 / 2 * 32, 32, 18, i % 2);
      case DType::Q5_0:
        return stored(first + i / 8, k + i % 8 / 2 * 32, 32, 22, i % 2);
      case DType::Q4_1:
        return stored(first + i / 16, k + i % 16 / 4 * 32, 32, 20, i % 4);
      case DType::Q5_1:
        return stored(first + i / 16, k + i % 16 / 4 * 32, 32, 24, i % 4);
      case DType::Q8_0:
        return stored(first + i / 8, k + i % 8 / 2 * 32, 32, 34, i % 2);
      case DType::Q4_K:
        return stored(first + i / 16, k, 256, 144, i % 16);
      case DType::Q5_K:
        return stored(first + i / 16, k, 256, 176, i % 16);
      default:  // Q6_K
        if (i >= 128) return stored(first + (i - 128) / 2, k, 256, 210, 208 + i % 2);
        return stored(first + i / 8, k, 256, 210, 192 + static_cast<int>(k % 256 / 16) + i % 8) ^ 128;
    }
  }
};

// One block of threads per unit (x) of a strip (y); a thread makes a word at a time.
__global__ void make_block_fragments(StoredBlocks from, uint8_t* to) {
  const BlockLayout layout = block_layout(from.dtype);
  const int64_t strip = int64_t{blockIdx.y} * BlockLayout::rows, unit = blockIdx.x, begin = unit * BlockLayout::columns;
  uint8_t* out = to + blockIdx.y * layout.strip_bytes(from.width) + layout.place(unit);
  const int scale_words = layout.scale_bytes(unit) / 4, words = scale_words + layout.code_bytes() / 4;
  const int more_words = scale_words + BlockLayout::rows * BlockLayout::columns * layout.bits / 32;
  // Column n of register i of a lane's operand of 32 columns j.
  const auto code = [&](int lane, int j, int i, int n) {
    const int column = layout.halves ? lane % 4 * 4 + i / 2 * 16 : lane % 4 * 8 + i / 2 * 4;
    return from.code(strip + lane / 4 + i % 2 * 8, begin + 32 * j + column + n);
  };
  for (int i = static_cast<int>(threadIdx.x); i < words; i += static_cast<int>(blockDim.x)) {
    uint32_t word = 0;
    if (i < scale_words) {
      for (int n = 0; n < 4; ++n) word |= from.scale_byte(strip, begin, 4 * i + n) << (8 * n);
    } else if (i < more_words) {
      // Loads of four words for each lane.
      const bool halves_of_words = from.dtype == DType::IQ4_NL || from.dtype == DType::IQ4_XS;
      const int at = i - scale_words, load = at / 128, lane = at / 4 % 32, part = at % 4;
      for (int n = 0; n < 4; ++n) {
        if (layout.bits == 8) {
          word |= code(lane, load, part, n) << (8 * n);
          continue;
        }
        if (layout.bits == 2) {
          for (int r = 0; r < 4; ++r) word |= (code(lane, part, r, n) & 3) << (8 * n + 2 * r);
          continue;
        }
        const int j = 2 * load + part / 2, half = part % 2;
        const uint32_t one = code(lane, j, half, n) & 15, other = code(lane, j, 2 + half, n) & 15;
        word |= halves_of_words ? one << (4 * n) | other << (4 * n + 16) : one << (8 * n) | other << (8 * n + 4);
      }
    } else {
      const int at = i - more_words, lane = at / (2 * layout.more), part = at % (2 * layout.more);
      const uint32_t turned = from.dtype == DType::Q5_0 || from.dtype == DType::Q3_K ? 1 : 0;
      for (int n = 0; n < 4; ++n) {
        if (layout.more == 1)
          for (int bit = 0; bit < 8; ++bit)
            word |= (code(lane, 2 * part + bit / 4, bit % 4, n) >> layout.bits ^ turned) << (8 * n + bit);
        else
          for (int r = 0; r < 4; ++r) word |= (code(lane, part, r, n) >> 4 ^ 2u) << (8 * n + 2 * r);
      }
    }
    *reinterpret_cast<uint32_t*>(out + 4 * i) = word;
  }
}

}  // namespace

void to_block_fragments(DType dtype, const uint8_t* from, uint8_t* to, int64_t rows, int64_t width,
                        cudaStream_t stream) {
  const BlockLayout layout = block_layout(dtype);
  const int64_t stride = row_bytes(dtype, width), strips = layout.strips(rows);
  for (int64_t first = 0; first < strips; first += 32768) {
    const int64_t count = strips - first < 32768 ? strips - first : 32768, row = first * BlockLayout::rows;
    const dim3 grid(static_cast<unsigned>(layout.units(width)), static_cast<unsigned>(count));
    launch<make_block_fragments>(Launch{grid, dim3(128), 0, stream},
                                 StoredBlocks{dtype, from + row * stride, stride, rows - row, width},
                                 to + first * layout.strip_bytes(width));
  }
}

}  // namespace vivace::cuda
