// The rows of one run: tokens of any number of sequences, in any order. Prefill chunks, batched decode and tree
// verification are all this one shape.
#pragma once
#include <cstdint>
#include <vector>

namespace vivace {

// A row belongs to a sequence, has a position (for RoPE and windows) and a cell (where its key and value are kept).
// It sees cells [0, visible) of its sequence, and, when `tree_mask` is set, of the cells that this batch adds
// also those whose bit is set: bit t of the row's mask is cell `first_cell + t`. Of a tree that is computed level by
// level, a batch has the rows of one, and its masks speak of the cells of earlier ones, too.
struct Batch {
  int64_t rows = 0;
  const int32_t* tokens = nullptr;       // [rows]
  const int32_t* positions = nullptr;    // [rows]
  const int32_t* sequences = nullptr;    // [rows] ids in the KV cache
  const int32_t* cells = nullptr;        // [rows]
  const int32_t* first_cells = nullptr;  // [rows] committed length of the row's sequence before this run
  const int32_t* visible = nullptr;      // [rows] chain rows: cell + 1; tree rows: first_cell
  const uint64_t* tree_mask = nullptr;   // [rows, tree_words], or null when every row is a chain row
  int64_t tree_words = 0;
  // Positions of the cells that this batch adds, for windows over tree rows: of row r's sequence, cell first_cell + t
  // has position added_positions[added_offsets[r] + t]. Before them, position − cell is the same as at t = 0.
  const int32_t* added_positions = nullptr;  // [added]
  int64_t added = 0;
  const int32_t* added_offsets = nullptr;  // [rows]
  // Under a policy that sees sinks at other distances than their own: what turns each row's query to theirs
  // (SinkAngles).
  const float* sink_angles = nullptr;  // [rows, sink_stride]
  int64_t sink_stride = 0;
  const int32_t* output_rows = nullptr;  // [outputs] rows whose logits are wanted, ascending
  int64_t outputs = 0;
  // Sequences whose last rows in this batch end a prompt that is compressed (PagedKv::compaction).
  const int32_t* compressed_sequences = nullptr;  // [compressed]
  int64_t compressed = 0;
};

}  // namespace vivace
