// Number formats: ids and sizes as in GGUF up to 999, row-scaled formats (quant/row_scaled.h) from 1001 on. The same
// table as lib/program/dtype.ts.
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
  W8A16 = 1001,
  W8A16_G32 = 1002,
  W8A16_G64 = 1003,
  W8A16_G128 = 1004,
  W4A16 = 1005,
  W4A16_G32 = 1006,
  W4A16_G64 = 1007,
  W4A16_G128 = 1008,
  W8A8 = 1009,
  W4A8 = 1010,
  W4A8_G128 = 1011,
  // Keys of a page by channel (ops/attention/kv_write.h); in caches only.
  KIVI4 = 1020,
  // Activations quantised for integer dot products; made by the planner, never in files.
  A8 = 2000,        // one scale per 32 values (ops/linear/quantize_rows.h)
  A8_TOKEN = 2001,  // one scale per row (ops/row_scaled/quantize_tokens.h)
};

struct DTypeInfo {
  DType id;
  const char* name;
  int block;               // values per block along a row
  int bytes;               // bytes per block
  bool quantized;          // integer codes with scales: `linear` wants its input as A8
  int header = 0;          // bytes before the first block of a row
  bool per_token = false;  // `linear` wants its input as A8_TOKEN
};

inline constexpr DTypeInfo dtype_table[] = {
    {DType::F32, "F32", 1, 4, false},
    {DType::F16, "F16", 1, 2, false},
    {DType::Q4_0, "Q4_0", 32, 18, true},
    {DType::Q4_1, "Q4_1", 32, 20, true},
    {DType::Q5_0, "Q5_0", 32, 22, true},
    {DType::Q5_1, "Q5_1", 32, 24, true},
    {DType::Q8_0, "Q8_0", 32, 34, true},
    {DType::Q2_K, "Q2_K", 256, 84, true},
    {DType::Q3_K, "Q3_K", 256, 110, true},
    {DType::Q4_K, "Q4_K", 256, 144, true},
    {DType::Q5_K, "Q5_K", 256, 176, true},
    {DType::Q6_K, "Q6_K", 256, 210, true},
    {DType::IQ4_NL, "IQ4_NL", 32, 18, true},
    {DType::IQ4_XS, "IQ4_XS", 256, 136, true},
    {DType::I32, "I32", 1, 4, false},
    {DType::BF16, "BF16", 1, 2, false},
    {DType::W8A16, "W8A16", 1, 1, false, 4},
    {DType::W8A16_G32, "W8A16_G32", 32, 36, false, 0},
    {DType::W8A16_G64, "W8A16_G64", 64, 68, false, 0},
    {DType::W8A16_G128, "W8A16_G128", 128, 132, false, 0},
    {DType::W4A16, "W4A16", 2, 1, false, 4},
    {DType::W4A16_G32, "W4A16_G32", 32, 20, false, 0},
    {DType::W4A16_G64, "W4A16_G64", 64, 36, false, 0},
    {DType::W4A16_G128, "W4A16_G128", 128, 68, false, 0},
    {DType::W8A8, "W8A8", 1, 1, false, 8, true},
    {DType::W4A8, "W4A8", 2, 1, false, 8, true},
    {DType::W4A8_G128, "W4A8_G128", 128, 66, false, 8, true},
    {DType::KIVI4, "KIVI4", 32, 20, false},
    {DType::A8, "A8", 32, 64, false},
    {DType::A8_TOKEN, "A8_TOKEN", 1, 1, false, 64},
};

constexpr const DTypeInfo* find_dtype(DType id) {
  for (const DTypeInfo& row : dtype_table)
    if (row.id == id) return &row;
  return nullptr;
}

// Whether weights are stored like this.
constexpr bool is_weight(DType id) {
  return find_dtype(id) != nullptr && id != DType::I32 && id != DType::A8 && id != DType::A8_TOKEN &&
         id != DType::KIVI4;
}

// Bytes of one row of `columns` values; `columns` is a whole number of blocks.
constexpr int64_t row_bytes(DType id, int64_t columns) {
  const DTypeInfo* info = find_dtype(id);
  return info == nullptr ? 0 : info->header + columns / info->block * info->bytes;
}

// What `linear` wants its input to be, for a weight of this type.
constexpr DType activations_for(DType weight) {
  const DTypeInfo* info = find_dtype(weight);
  if (info == nullptr || (!info->quantized && !info->per_token)) return DType::F32;
  return info->per_token ? DType::A8_TOKEN : DType::A8;
}

}  // namespace vivace
