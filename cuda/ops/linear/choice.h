// From how many rows of x on tiles serve, by type of weights: the one place to change when a card has been measured.
// `bench-linear --choose` (bench/gpu/linear.cu) times both kernels of each type and prints this table anew.
//
// Counted so far, not measured (docs/kernels/cuda-linear.md). Results do not depend on it, except for F16 and BF16,
// which are not in it: rounded_rows is a promise.
#pragma once
#include "core/dtype.h"

namespace vivace::cuda {

struct TileChoice {
  DType dtype;
  int rows;
};

// GGUF's types as they are stored, where something else reads the weight, too; W?A8.
inline constexpr TileChoice tile_choices[] = {
    {DType::Q4_0, 33}, {DType::Q4_1, 33}, {DType::Q5_0, 33},   {DType::Q5_1, 33},   {DType::Q8_0, 33},
    {DType::Q2_K, 33}, {DType::Q3_K, 33}, {DType::Q4_K, 33},   {DType::Q5_K, 33},   {DType::Q6_K, 33},
    {DType::W8A8, 33}, {DType::W4A8, 33}, {DType::IQ4_NL, 33}, {DType::IQ4_XS, 33}, {DType::W4A8_G128, 33},
};

// None: no kernel of this type has tiles, or they have another rule.
inline constexpr int never_tiled = 1 << 30;
constexpr int tiles_from(DType dtype) {
  for (const TileChoice& choice : tile_choices)
    if (choice.dtype == dtype) return choice.rows;
  return never_tiled;
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
