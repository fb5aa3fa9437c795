// Number formats: ids as in GGUF, sizes as stored in files. The same table as lib/program/dtype.ts.
#pragma once
#include <cstdint>

namespace vivace {

enum class DType : int32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  IQ4_NL = 20,
  IQ4_XS = 23,
  I32 = 26,
  BF16 = 30,
  // Activations quantised for integer dot products; made by the planner, never in files (ops/quantize_rows.h).
  A8 = 1000,
};

struct DTypeInfo {
  DType id;
  const char* name;
  int block;       // values per block along a row
  int bytes;       // bytes per block
  bool quantized;  // integer codes with scales: `linear` wants its input as A8
};

inline constexpr DTypeInfo dtype_table[] = {
    {DType::F32, "F32", 1, 4, false},       {DType::F16, "F16", 1, 2, false},
    {DType::Q4_0, "Q4_0", 32, 18, true},    {DType::Q4_1, "Q4_1", 32, 20, true},
    {DType::Q5_0, "Q5_0", 32, 22, true},    {DType::Q5_1, "Q5_1", 32, 24, true},
    {DType::Q8_0, "Q8_0", 32, 34, true},    {DType::Q2_K, "Q2_K", 256, 84, true},
    {DType::Q3_K, "Q3_K", 256, 110, true},  {DType::Q4_K, "Q4_K", 256, 144, true},
    {DType::Q5_K, "Q5_K", 256, 176, true},  {DType::Q6_K, "Q6_K", 256, 210, true},
    {DType::IQ4_NL, "IQ4_NL", 32, 18, true}, {DType::IQ4_XS, "IQ4_XS", 256, 136, true},
    {DType::I32, "I32", 1, 4, false},       {DType::BF16, "BF16", 1, 2, false},
    {DType::A8, "A8", 32, 40, false},
};

constexpr const DTypeInfo* find_dtype(DType id) {
  for (const DTypeInfo& row : dtype_table)
    if (row.id == id) return &row;
  return nullptr;
}

// Bytes of one row of `columns` values; `columns` is a whole number of blocks.
constexpr int64_t row_bytes(DType id, int64_t columns) {
  const DTypeInfo* info = find_dtype(id);
  return info == nullptr ? 0 : columns / info->block * info->bytes;
}

}  // namespace vivace
