// Labels of keys: some channels of every key, in few bits, from which its scores can be guessed (Double Sparsity).
// A label is made of the key as the cache keeps it, so that it follows from the page that it lies in.
//   2 and 4 bits: code = round((x − min) / step) with step = (max − min) / (2^bits − 1) over the label's channels;
//                 channel ≈ min + step · code. step and min are kept as F16.
//   8 bits:       code = round(x / step), half away from zero, with step = max|x| / 127. step is kept as F16.
//   16 bits:      the channel as F16.
//   A step of 0 counts as 1.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace vivace {

struct LabelOptions {
  int channels = 0;            // of a label; 0: no labels. Else a multiple of 8.
  int bits = 4;                // 2, 4, 8 or 16
  int sets = 0;                // labels of a cell in one layer: a multiple of the KV heads that divides the query heads
  std::vector<int32_t> table;  // [layers][sets][channels], channels of the stored key
  std::vector<uint8_t> sparse;  // [layers]: 0 where rows attend to all that they see
  int tokens = 0;               // cells that a row attends to
  int share = 0;                // or one of so many that it sees, if that is more; 0: no such rule
  int threshold = 0;            // a row that sees no more than this attends to all
  int recent = 0, sinks = 0;    // last and first cells that are always among them; the row's own is
  bool grouped = false;         // one choice for all query heads of a KV head

  bool operator==(const LabelOptions&) const = default;
};

// How the labels of one set for the cells of a page lie: [words][page_size] words, then [page_size] steps and
// [page_size] minima as F16; 16 bits: [channels][page_size] F16. The codes of channel c of a label are in word
// c / per_word, bits 8 · (c % 4) + bits · (c % per_word / 4) and up: four neighbours are a byte each.
struct LabelLayout {
  int channels = 0, bits = 0, page_size = 0;

  int per_word() const { return 32 / bits; }
  int words() const { return (channels + per_word() - 1) / per_word(); }
  int64_t steps_at() const { return bits == 16 ? 0 : int64_t{4} * words() * page_size; }
  int64_t minima_at() const { return steps_at() + 2 * int64_t{page_size}; }
  int64_t bytes() const {
    if (bits == 16) return (int64_t{2} * channels * page_size + 63) / 64 * 64;
    return (minima_at() + (bits < 8 ? 2 * int64_t{page_size} : 0) + 63) / 64 * 64;
  }
};

// Writes the label of cell `slot` of a page; `channels`: those of the set, `key`: the stored row.
void write_label(const LabelLayout& layout, std::byte* labels, int slot, const int32_t* channels, DType dtype,
                 const std::byte* key);

// Calls body(offset, bytes) for each array of a set's labels: [page_size] parts of so many bytes.
template <class Body>
inline void for_label_parts(const LabelLayout& layout, Body&& body) {
  const int64_t size = layout.page_size;
  if (layout.bits == 16) {
    for (int c = 0; c < layout.channels; ++c) body(2 * c * size, int64_t{2});
    return;
  }
  for (int w = 0; w < layout.words(); ++w) body(4 * w * size, int64_t{4});
  body(layout.steps_at(), int64_t{2});
  if (layout.bits < 8) body(layout.minima_at(), int64_t{2});
}

}  // namespace vivace
