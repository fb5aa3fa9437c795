// The order in which a card keeps weights of GGUF's types that linear has for itself: operands of mma.m16n8k32, as
// fragments.h has those of W?A16 for mma.m16n8k16.
//
// 16 rows of the weight are a strip, 128 columns of a strip a unit: first what the 16 rows have of scales, row by row,
// then fragments of lanes 0 … 31, 16 bytes each, for every load. The bytes are as many as in the stored blocks
// (cpp/quant/blocks.h) where rows are a multiple of 16 and columns of 128.
//   scales   Q4_0, Q5_0, Q8_0, IQ4_NL: the four of the unit, as stored; Q4_1, Q5_1: each with its minimum. Q4_K, Q5_K:
//   the
//            16 bytes before a block's codes, in even units. Q3_K, Q6_K, IQ4_XS: of all rows a byte for each scale,
//            plus 128; then d of all rows. Q2_K: of all rows the bytes of scale and minimum, then d and dmin
//   codes    lane (g = lane / 4, t = lane % 4) has rows g and g + 8 and of every 32 columns register i of the operand:
//            row g + 8 · (i % 2), four columns from 8t + 4 · (i / 2) on, with scales of 16 columns 4t + 16 · (i / 2)
//            two bits     a word for 32 columns: bits 8n + 2i are column n of register i
//            four bits    a word per row: byte n has column n of one register and, above it, of the other; of IQ4 the
//            lower
//                         half has four nibbles of one register, the upper one those of the other
//            eight bits   a word per register
//   more     Q3_K, Q5_0, Q5_1, Q5_K: a word for two times 32 columns, bit 8n + i (+ 4) is the highest bit of column n
//   of
//            register i, of Q3_K and Q5_0 turned. Q6_K: a word for 32 columns, bits 8n + 2i are the two upper bits, the
//            last one turned
// Rows beyond the last and columns beyond the row have zeros everywhere.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"

namespace vivace::cuda {

struct BlockLayout {
  int bits = 0;                   // per code; 0: this type is kept as it is stored
  int even_row = 0, odd_row = 0;  // bytes of scales per row, in even and in odd units
  int more = 0;                   // bits of a code beyond those
  bool halves = false;            // scales belong to 16 columns

  static constexpr int rows = 16, columns = 128;  // of a unit
  __host__ __device__ constexpr int scale_bytes(int64_t unit) const {
    return rows * (unit % 2 == 0 ? even_row : odd_row);
  }
  __host__ __device__ constexpr int code_bytes() const { return rows * columns * (bits + more) / 8; }
  __host__ __device__ constexpr int largest_unit() const {
    return rows * (even_row > odd_row ? even_row : odd_row) + code_bytes();
  }
  __host__ __device__ constexpr int64_t units(int64_t width) const { return (width + columns - 1) / columns; }
  __host__ __device__ constexpr int64_t strips(int64_t out) const { return (out + rows - 1) / rows; }
  // Where a unit of a strip begins.
  __host__ __device__ constexpr int64_t place(int64_t unit) const {
    return unit * code_bytes() + (unit + 1) / 2 * rows * even_row + unit / 2 * rows * odd_row;
  }
  __host__ __device__ constexpr int64_t strip_bytes(int64_t width) const { return place(units(width)); }
  constexpr int64_t bytes(int64_t out, int64_t width) const { return strips(out) * strip_bytes(width); }
};

__host__ __device__ constexpr BlockLayout block_layout(DType dtype) {
  switch (dtype) {
    case DType::Q2_K:
      return {2, 12, 12, 0, true};
    case DType::Q3_K:
      return {2, 10, 10, 1, true};
    case DType::IQ4_XS:
      return {4, 6, 6};
    case DType::IQ4_NL:
    case DType::Q4_0:
      return {4, 8, 8};
    case DType::Q5_0:
      return {4, 8, 8, 1};
    case DType::Q4_1:
      return {4, 16, 16};
    case DType::Q5_1:
      return {4, 16, 16, 1};
    case DType::Q4_K:
      return {4, 16, 0};
    case DType::Q5_K:
      return {4, 16, 0, 1};
    case DType::Q6_K:
      return {4, 10, 10, 2, true};
    case DType::Q8_0:
      return {8, 8, 8};
    default:
      return {};
  }
}

// As to_fragments (fragments.h), for these types.
void to_block_fragments(DType dtype, const uint8_t* from, uint8_t* to, int64_t rows, int64_t width,
                        cudaStream_t stream);

}  // namespace vivace::cuda
