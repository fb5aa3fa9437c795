// From how many rows of x on another kernel serves, by type of weights: the one place to change when a card has been
// measured: `npm run bench:gpu -- --choose` times both kernels of each line (bench/gpu/linear.cu) and writes these
// tables anew. Results do not depend on them: both kernels of a line give the same bits. F16 and BF16 are not in them:
// rounded_rows is a promise.
// Where the numbers are from: counted (docs/kernels/cuda-linear.md), not measured.
#pragma once
#include "core/dtype.h"

namespace vivace::cuda {

struct TileChoice {
  DType dtype;
  int rows;
};

// Rows of tables that no number of rows reaches.
inline constexpr int never = 1 << 30;

// GGUF's types as they are stored, where something else reads the weight, too; W?A8.
inline constexpr TileChoice tile_choices[] = {
    {DType::Q4_0, 33}, {DType::Q4_1, 33}, {DType::Q5_0, 33},   {DType::Q5_1, 33},   {DType::Q8_0, 33},
    {DType::Q2_K, 33}, {DType::Q3_K, 33}, {DType::Q4_K, 33},   {DType::Q5_K, 33},   {DType::Q6_K, 33},
    {DType::W8A8, 33}, {DType::W4A8, 33}, {DType::IQ4_NL, 33}, {DType::IQ4_XS, 33}, {DType::W4A8_G128, 33},
};

constexpr int tiles_from(DType dtype) {
  for (const TileChoice& choice : tile_choices)
    if (choice.dtype == dtype) return choice.rows;
  return never;  // no kernel of this type has tiles, or they have another rule
}

// GGUF's types in fragments: decoded once and multiplied from there (fragments/unpacked/), elsewhere in each tile of 64
// rows of x. `narrow`: some matrix of the launch has fewer rows than wide_rows; its blocks leave multiprocessors idle
// that the kernel for fragments gives slices of k.
struct UnpackChoice {
  DType dtype;
  int narrow, wide;
};
inline constexpr int wide_rows = 2048;
inline constexpr UnpackChoice unpack_choices[] = {
    {DType::Q4_0, never, 1024}, {DType::Q4_1, never, 768}, {DType::Q5_0, never, 704},   {DType::Q5_1, never, 768},
    {DType::Q8_0, never, 1024}, {DType::Q2_K, never, 384}, {DType::Q3_K, never, 320},   {DType::Q4_K, never, 576},
    {DType::Q5_K, never, 576},  {DType::Q6_K, never, 320}, {DType::IQ4_NL, never, 704}, {DType::IQ4_XS, never, 512},
};
// `out`: rows of the smallest matrix of the launch.
constexpr int unpacked_from(DType dtype, int out) {
  for (const UnpackChoice& choice : unpack_choices)
    if (choice.dtype == dtype) return out < wide_rows ? choice.narrow : choice.wide;
  return never;
}

// F16 and BF16 weights round x to their type from here on, as everybody does who multiplies them on tensor cores; up to
// the largest bucket that has a graph they do not.
inline constexpr int rounded_rows = 65;
constexpr bool rounds_x(DType weight, int rows) {
  return (weight == DType::F16 || weight == DType::BF16) && rows >= rounded_rows;
}

// What the bench asks for.
enum class Serve { by_table, few_rows, tiles };

}  // namespace vivace::cuda
