// The order in which a card keeps the weights of linear that it has for itself: operands of mma.m16n8k16, so that 16
// bytes of a lane are whole fragments and a warp's loads are one piece of memory.
//
// 16 rows of the weight are a strip, 128 columns of a strip a unit. Rows beyond the last and columns beyond the row
// have codes that stand for zero.
//   strip   [16 words of rows, where groups are whole rows] units
//   unit    fragments of lanes 0 … 31, 16 bytes each, for every load; then 16 words for every group
// Lane (g = lane / 4, t = lane % 4) has rows g and g + 8 of the strip and columns 8t … 8t + 7 of every 32. Pairs of
// columns in their order are a[0] and a[2] of row g, a[1] and a[3] of row g + 8 of one product, then those of the next.
// Where the number of rows is one of strips, and that of columns one of units, the bytes are as many as in the stored
// rows (cpp/quant/row_scaled.h), whose words (scale and zero point) are kept.
//   four bits    nibble i of a word is the lower number of a[i], nibble i + 4 the upper one
//   eight bits   two words: row g and row g + 8, four columns each; codes plus 128
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"
#include "cuda/quant/block_fragments.h"

namespace vivace::cuda {

struct FragmentLayout {
  int bits = 0;   // per code; 0: this type is kept as it is stored
  int group = 0;  // columns of a scale; 0: the row

  static constexpr int rows = 16, columns = 128;  // of a unit
  __host__ __device__ constexpr int header() const { return group == 0 ? 4 * rows : 0; }
  __host__ __device__ constexpr int code_bytes() const { return rows * columns * bits / 8; }
  __host__ __device__ constexpr int unit_bytes() const {
    return code_bytes() + (group == 0 ? 0 : columns / (group == 0 ? 1 : group) * 4 * rows);
  }
  __host__ __device__ constexpr int64_t units(int64_t width) const { return (width + columns - 1) / columns; }
  __host__ __device__ constexpr int64_t strips(int64_t out) const { return (out + rows - 1) / rows; }
  __host__ __device__ constexpr int64_t strip_bytes(int64_t width) const {
    return header() + units(width) * unit_bytes();
  }
  constexpr int64_t bytes(int64_t out, int64_t width) const { return strips(out) * strip_bytes(width); }
};

constexpr FragmentLayout fragment_layout(DType dtype) {
  switch (dtype) {
    case DType::W4A16:
      return {4, 0};
    case DType::W4A16_G32:
      return {4, 32};
    case DType::W4A16_G64:
      return {4, 64};
    case DType::W4A16_G128:
      return {4, 128};
    case DType::W8A16:
      return {8, 0};
    case DType::W8A16_G32:
      return {8, 32};
    case DType::W8A16_G64:
      return {8, 64};
    case DType::W8A16_G128:
      return {8, 128};
    default:
      return {};
  }
}

// Whether a weight of this type and width may lie in fragments: W?A16 and some of GGUF's types.
constexpr bool has_fragments(DType dtype, int64_t width) {
  return (fragment_layout(dtype).bits != 0 || block_layout(dtype).bits != 0) && width % 32 == 0;
}

// The same of matrices of as many experts below each other: each is whole strips, and there are kernels.
constexpr bool expert_fragments(DType dtype, int64_t rows, int64_t experts, int64_t width) {
  return block_layout(dtype).bits != 0 && has_fragments(dtype, width) && rows % experts == 0 &&
         rows / experts % 16 == 0;
}

// Bytes of 16 rows, and of all.
constexpr int64_t fragment_strip_bytes(DType dtype, int64_t width) {
  return fragment_layout(dtype).bits != 0 ? fragment_layout(dtype).strip_bytes(width)
                                          : block_layout(dtype).strip_bytes(width);
}
constexpr int64_t fragment_bytes(DType dtype, int64_t out, int64_t width) {
  return fragment_layout(dtype).strips(out) * fragment_strip_bytes(dtype, width);
}

// Brings `rows` stored rows into fragments (the last strip may have fewer than 16); `to` is 16-byte aligned.
void to_fragments(DType dtype, const uint8_t* from, uint8_t* to, int64_t rows, int64_t width, cudaStream_t stream);

}  // namespace vivace::cuda
