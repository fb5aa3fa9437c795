// How rows of W?A16 and W?A8 weights are read by kernels (files compiled per instruction-set level).
//
// A kind says what weights are multiplied with: floats, or the bytes of A8_TOKEN. A row reader gives the weights of one
// row in vectors of that kind; its parameters hold for `stretch` columns (0: the whole row), then `enter` reads the
// next ones. Nothing beyond the row is read: it may be the last of a mapped file.
#pragma once
#include "core/simd/bytes.h"
#include "core/tensor.h"
#include "ops/row_scaled/quantize_tokens.h"
#include "quant/row_scaled.h"

// Before a loop over a register tile: unrolled early, its arrays become registers (without, GCC 12 keeps a copy in
// memory).
#if defined(__clang__)
#define VIVACE_UNROLLED _Pragma("unroll")
#elif defined(__GNUC__)
#define VIVACE_UNROLLED _Pragma("GCC unroll 8")
#else
#define VIVACE_UNROLLED
#endif

namespace vivace::VIVACE_ISA {

struct FloatKind {
  using Vector = F32;
  using Sum = F32;
  using Stored = float;  // of x and of unpacked weights
  static constexpr int lanes = F32::lanes;
  static constexpr int chunk = 512;  // columns that are unpacked at a time: 16 KiB for 8 rows
  static const float* row_of(const Tensor& x, int64_t row) { return x.row<const float>(row); }
  static F32 load_all(const float* p) { return load(p); }
  static void store_all(float* p, F32 a) { store(p, a); }
  static F32 none() { return zero(); }
  static F32 load_sum(const F32* p) { return load(reinterpret_cast<const float*>(p)); }
  static void save_sum(F32* p, F32 sum) { store(reinterpret_cast<float*>(p), sum); }
  static F32 add(F32 sum, F32 weight, F32 x) { return fma(weight, x, sum); }
};

template <bool is_signed>
struct TokenKind {
  using Vector = Bytes;
  using Sum = Sums;
  using Stored = int8_t;
  static constexpr int lanes = byte_lanes;
  static constexpr int chunk = 2048;
  static const int8_t* row_of(const Tensor& x, int64_t row) { return x.row<const int8_t>(row) + token_header; }
  static Bytes load_all(const int8_t* p) { return load_bytes(p); }
  static void store_all(int8_t* p, Bytes a) { store_bytes(p, a); }
  static Sums none() { return no_sums(); }
  static Sums load_sum(const Sums* p) { return load_sums(p); }
  static void save_sum(Sums* p, Sums sums) { save_sums(p, sums); }
  static Sums add(Sums sums, Bytes weight, Bytes x) { return add_products<is_signed>(sums, weight, x); }
};

// Copies a row's last bytes to where a whole vector may be read.
template <int size>
struct Tail {
  uint8_t bytes[size] = {};
  Tail(const uint8_t* p, int count) { std::memcpy(bytes, p, static_cast<size_t>(count)); }
};

// Rows whose vectors have their columns in order.
template <class Vector>
struct InOrder {
  static Vector order(Vector columns) { return columns; }
  static Vector columns(Vector ordered) { return ordered; }
};

// `at` gives columns in the order of Levels.
template <int group>
struct RowW4A16 : Levels {
  using Kind = FloatKind;
  static constexpr int stretch = group, bits = 4, bits_of_x = 32;
  void start(const std::byte* row) { next = reinterpret_cast<const uint8_t*>(row); }
  void enter() {
    set(load_word(next));
    codes = next + 4;
    next = codes + group / 2;
  }
  F32 at(int64_t k) const { return Levels::at(codes + k / 2); }
  F32 first(int64_t k, int count) const { return Levels::at(Tail<F32::lanes>(codes + k / 2, (count + 1) / 2).bytes); }
  const uint8_t *next, *codes;
};

template <int group>
struct RowW8A16 : InOrder<F32> {
  using Kind = FloatKind;
  static constexpr int stretch = group, bits = 8, bits_of_x = 32;
  void start(const std::byte* row) { next = reinterpret_cast<const uint8_t*>(row); }
  void enter() {
    const uint32_t word = load_word(next);
    scale = set1(word_scale(word));
    min = set1(-word_scale(word) * static_cast<float>(word_zero(word, true)));
    codes = next + 4;
    next = codes + group;
  }
  F32 value(const uint8_t* p) const { return fma(load_i8(reinterpret_cast<const int8_t*>(p)), scale, min); }
  F32 at(int64_t k) const { return value(codes + k); }
  F32 first(int64_t k, int count) const { return value(Tail<F32::lanes>(codes + k, count).bytes); }
  const uint8_t *next, *codes;
  F32 scale, min;
};

struct RowW8A8 : InOrder<Bytes> {
  using Kind = TokenKind<true>;
  static constexpr int stretch = 0, bits = 8, bits_of_x = 8;
  static constexpr int bias = signed_bias;
  void start(const std::byte* row) { codes = reinterpret_cast<const uint8_t*>(row) + sizeof(RowScale); }
  void enter() {}
  Bytes at(int64_t k) const { return biased(load_bytes(codes + k)); }
  Bytes first(int64_t k, int count) const { return biased(load_bytes(Tail<byte_lanes>(codes + k, count).bytes)); }
  const uint8_t* codes;
};

struct RowW4A8 : InOrder<Bytes> {
  using Kind = TokenKind<false>;
  static constexpr int stretch = 0, bits = 4, bits_of_x = 8;
  static constexpr int bias = 0;
  void start(const std::byte* row) { codes = reinterpret_cast<const uint8_t*>(row) + sizeof(RowScale); }
  void enter() {}
  Bytes at(int64_t k) const { return load_nibbles(codes + k / 2); }
  Bytes first(int64_t k, int count) const {
    return load_nibbles(Tail<byte_lanes>(codes + k / 2, (count + 1) / 2).bytes);
  }
  const uint8_t* codes;
};

struct RowW4A8Groups : InOrder<Bytes> {
  using Kind = TokenKind<true>;
  static constexpr int stretch = 128, bits = 4, bits_of_x = 8;
  static constexpr int bias = signed_bias;
  void start(const std::byte* row) { next = reinterpret_cast<const BlockW4A8*>(row + sizeof(RowScale)); }
  void enter() { block = next++; }
  Bytes at(int64_t k) const {
    return scale_bytes(load_nibbles(block->codes + k / 2), block->scale, block->zero + signed_bias);
  }
  Bytes first(int64_t k, int) const { return at(k); }
  const BlockW4A8 *next, *block;
};

}  // namespace vivace::VIVACE_ISA
