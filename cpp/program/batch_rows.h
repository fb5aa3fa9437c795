// The arrays of a batch, owned: whoever makes batches fills them, and shows them to runs as one Batch.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "program/batch.h"

namespace vivace {

// As the members of Batch say. A tree's masks are wanted where `words`, of a row's mask, are not 0.
struct BatchRows {
  std::vector<int32_t> tokens, positions, sequences, cells, first_cells, visible, added_positions, added_offsets,
      output_rows;
  std::vector<uint64_t> masks;
  size_t words = 0;

  std::array<std::vector<int32_t>*, 9> lists() {
    return {&tokens,  &positions,       &sequences,     &cells,      &first_cells,
            &visible, &added_positions, &added_offsets, &output_rows};
  }
  void clear() {
    for (std::vector<int32_t>* list : lists()) list->clear();
    masks.clear();
    words = 0;
  }
  void resize(size_t rows) {
    for (std::vector<int32_t>* list : lists()) list->resize(rows);
    masks.assign(rows * words, 0);
  }
  // A sequence's tokens that follow each other from its cell `cell` on, the last one an output.
  void add_chain(int32_t sequence, int64_t cell, const int32_t* chain, size_t count) {
    const auto offset = static_cast<int32_t>(tokens.size());
    for (size_t i = 0; i < count; ++i) {
      const auto own = static_cast<int32_t>(cell + static_cast<int64_t>(i));
      tokens.push_back(chain[i]);
      positions.push_back(own);
      sequences.push_back(sequence);
      cells.push_back(own);
      first_cells.push_back(static_cast<int32_t>(cell));
      visible.push_back(own + 1);
      added_positions.push_back(own);
      added_offsets.push_back(offset);
    }
    output_rows.push_back(static_cast<int32_t>(tokens.size()) - 1);
  }
  // Of a row's mask: all that its parent sees, and itself, the sequence's added cell number `ordinal`. A parent that is
  // -1 sees nothing of them.
  void inherit(size_t row, int32_t parent, int32_t ordinal) {
    uint64_t* const mask = masks.data() + row * words;
    if (parent >= 0) std::copy_n(masks.data() + static_cast<size_t>(parent) * words, words, mask);
    mask[static_cast<size_t>(ordinal) / 64] |= uint64_t{1} << (ordinal % 64);
  }
  // Valid until the arrays change.
  Batch show() const {
    Batch batch;
    batch.rows = static_cast<int64_t>(tokens.size());
    batch.tokens = tokens.data();
    batch.positions = positions.data();
    batch.sequences = sequences.data();
    batch.cells = cells.data();
    batch.first_cells = first_cells.data();
    batch.visible = visible.data();
    batch.tree_mask = words > 0 ? masks.data() : nullptr;
    batch.tree_words = static_cast<int64_t>(words);
    batch.added_positions = added_positions.data();
    batch.added = static_cast<int64_t>(added_positions.size());
    batch.added_offsets = added_offsets.data();
    batch.output_rows = output_rows.data();
    batch.outputs = static_cast<int64_t>(output_rows.size());
    return batch;
  }
};

}  // namespace vivace
