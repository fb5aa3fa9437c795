// Weights of GGUF's types out of fragments, decoded once for a launch of many rows of x: codes as f16, scales and
// minimums as float32. What they are for: products.h. From how many rows on: cuda/ops/linear/choice.h.
//
// A piece is 16 rows of the weight by 32 columns, pieces of a strip follow each other:
//   codes     operands of two mma.m16n8k16, 16 bytes of lanes 0 … 31 for each. They are whole numbers of at most eight
//             bits, exact as f16, and so are those of A8: a sum of 32 products is below 2^19 and exact in float32.
//   scales    16 floats, two times 16 where scales belong to 16 columns; minimums after them, as many
// Product p of a piece has columns 16p … 16p + 15 where scales belong to 16 columns, elsewhere columns 4p … 4p + 3 of
// every eight: what a lane's word of bytes is. Number k of an operand is the column that piece_column says.
#pragma once
#include <vector>

#include "cuda/ops/linear/arguments.h"
#include "cuda/quant/block_fragments.h"

namespace vivace::cuda {

struct PieceLayout {
  int parts = 1;  // scales of a row
  bool has_min = false;

  static constexpr int columns = 32, rows = 16, code_bytes = rows * columns * 2;
  __host__ __device__ constexpr int numbers() const { return parts * (has_min ? 2 : 1); }
  __host__ __device__ constexpr int bytes() const { return code_bytes + 4 * rows * numbers(); }
  // Floats of a row of x for a piece: its scale and, for minimums, scaled sums of its parts.
  __host__ __device__ constexpr int numbers_of_x() const { return has_min ? 1 + parts : 1; }
};

constexpr bool has_minimums(DType dtype) {
  return dtype == DType::Q4_1 || dtype == DType::Q5_1 || dtype == DType::Q2_K || dtype == DType::Q4_K ||
         dtype == DType::Q5_K;
}
constexpr PieceLayout piece_layout(DType dtype) {
  return {block_layout(dtype).halves ? 2 : 1, has_minimums(dtype)};
}

// The column of 32 that number k of product p is; even k, and k + 1 is the next column.
__host__ __device__ constexpr int piece_column(bool halves, int p, int k) {
  const int lane = k % 8 / 2, word = k / 8;
  return halves ? 16 * p + 4 * lane + 2 * word : 8 * lane + 4 * p + 2 * word;
}

inline constexpr int unpacked_strips = 8, unpacked_threads = 256;  // of a block; strips of gate and up when gated
inline constexpr int64_t unpacked_budget = int64_t{64} << 20;      // bytes of weights at a time

// How a shape is cut. Neither tiles nor passes change a bit.
struct UnpackedPlan {
  int tile = 64;       // rows of x of a block: 64 or 128
  int padded = 0;      // rows of x, to whole tiles
  int pass = 0;        // strips of a matrix at a time
  size_t numbers = 0;  // offset in scratch memory, whose beginning is x: scales of x
  size_t weights = 0;  // offset of unpacked strips; of up those of gate come first
  size_t bytes = 0;    // of scratch memory
};

UnpackedPlan plan_unpacked(DType dtype, int rows, const std::vector<int>& outs, int columns, int multiprocessors,
                           bool gated, int64_t budget);

// fragment_linear for these types, the same bits: passes of unpack_strips and a product each.
bool unpacked_linear(const LinearArguments& a, cudaStream_t stream, int64_t budget = unpacked_budget);

// Strips `first` … `first + count - 1` of a weight in fragments as pieces.
void unpack_strips(DType dtype, const uint8_t* fragments, int first, int count, int columns, uint8_t* to,
                   cudaStream_t stream);
// x for them: codes of A8 as f16 in the order of piece_column, [padded, columns], zeros beyond the last row; and per
// piece its numbers of padded rows each.
void widen_rows(const LinearArguments& a, const UnpackedPlan& plan, cudaStream_t stream);

}  // namespace vivace::cuda
