// Quantised checkpoints of other tools → row-scaled weights (quant/row_scaled.h). One unpacker per layout of codes
// gives the canonical form, one unsigned code per byte in the order of rows and columns; one packer per stored type
// takes it.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace vivace {

// How a tool lays out the codes, scales and zero points of a linear map [rows, columns], g = columns per group.
enum class CheckpointLayout : int32_t {
  gptq = 0,    // words [columns / n, rows] along k; scales [groups, rows]; zeros [groups, rows / n]
  awq = 1,     // words [columns, rows / 8], rows interleaved; scales [groups, rows]; zeros [groups, rows / 8]
  packed = 2,  // compressed-tensors: words [rows, columns / n]; scales [rows, groups]; zeros words [rows / n, groups]
  bytes = 3,   // compressed-tensors: signed bytes [rows, columns]; scales [rows, groups]; zeros bytes [rows, groups]
  marlin = 4,  // tiles of 16 columns by 64 rows in the order of tensor-core fragments; scales [groups, rows] permuted
  qqq = 5,     // as marlin, for 8-bit fragments; scales of rows F32 [rows] and of groups F16 [groups, rows]
  qserve = 6,  // tiles of 32 by 32; scales of rows F16; per row F16 scale · zero, or per group bytes s and -s · z
};

// What a file holds for one linear map. Pointers need no alignment; the caller has checked the sizes.
struct Checkpoint {
  CheckpointLayout layout;
  int bits;  // 2, 4 or 8
  int64_t rows, columns;
  int64_t group;       // columns of a group, or all
  DType scale_type;    // F16, BF16 or F32
  bool zero_plus_one;  // stored zero points are one less than meant
  int zero;            // of all groups, where there are no `zeros`; in the domain of unsigned codes
  bool signed_codes;   // qqq without groups: nibbles are two's complement
  const std::byte* codes;
  const std::byte* scales;
  const std::byte* zeros;         // or null
  const std::byte* group_scales;  // qqq, qserve; or null
  const int32_t* order;           // column i of the result is column order[i] of the file; null: all in place
};

// Makes rows [begin, end) of the stored type at `out` (the address of row `begin`). `begin` is a multiple of
// checkpoint_tile. Returns false when a scale is not finite or a group's scale too large to be meant.
inline constexpr int64_t checkpoint_tile = 64;
bool convert_checkpoint(const Checkpoint& source, DType stored, int64_t begin, int64_t end, std::byte* out);

// The steps, for the two halves of the implementation.
// Codes of rows [begin, end) in canonical form, [end - begin, columns].
void unpack_codes(const Checkpoint& source, int64_t begin, int64_t end, uint8_t* codes);
// Scale and zero point of a group of a row; the zero point in the domain of unsigned codes.
float checkpoint_scale(const Checkpoint& source, int64_t row, int64_t group);
int checkpoint_zero(const Checkpoint& source, int64_t row, int64_t group);

}  // namespace vivace
