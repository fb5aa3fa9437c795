// What a run's kernels know of rows that choose the cells that they attend to (Double Sparsity) and of prompts that are
// compressed (SnapKV). It lies behind the page tables of a round's block; what kernels work with lies behind the states
// of attention (DeviceRun::states), because it grows with lengths, too.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/caches/device_labels.h"
#include "cuda/program/row_plan.h"
#include "device/table.h"

namespace vivace::cuda {

inline constexpr int scan_slots = 1024;  // whose labels a block looks at at a time

// Cells that a row attends to when it sees `seen`; all of them when that is `seen`.
VIVACE_BOTH_SIDES inline int chosen_cells(const DeviceLabels& labels, int seen) {
  const int part = labels.share > 0 ? (seen + labels.share - 1) / labels.share : 0;
  const int wanted = part > labels.tokens ? part : labels.tokens;
  return seen <= labels.threshold || seen <= wanted ? seen : wanted;
}

// Places as numbers of floats behind PolicySizes::memory.
struct ChoosingRow {
  int32_t row;
  int32_t slots;   // that it sees at most, rounded up
  int32_t wanted;  // cells that it chooses at most
  int32_t state;   // of its first chunk, behind those of the plan; one_chunk: it has one at most
  int64_t scores;  // [lists, slots]
  int64_t tops;    // [heads, slots / scan_slots] the largest score of each part
  int64_t cells;   // [lists, wanted] int32: what it chose
};

// Prompts, as cpp/caches/compaction.h has them.
struct CompressedPrompt {
  int32_t sequence, cells, kept, prefix, voters, spans;
  int32_t kernel, pooling, aggregation, keep_first;
  int64_t rows, pages;                  // bytes behind PolicySizes::at: [voters] int32, [pages] addresses
  int64_t sums, votes, pooled, chosen;  // as in cpp/caches/compaction.h
};

struct PolicySizes {
  int32_t choosing = 0, prompts = 0;  // rows, prompts
  int32_t parts = 0, chunks = 0;      // of scan_slots, and of chosen cells, that a row has at most
  int32_t most_cells = 0, most_kept = 0, most_queries = 0;  // of a prompt
  int64_t at = 0;    // bytes from the page tables: [rows of the bucket] int32, which of the rows that choose a row is
  int64_t rows = 0;  // bytes from there to the rows that choose, and to the prompts
  int64_t prompts_at = 0;
  int64_t memory = 0;  // floats from the states
};

class PolicyRows {
 public:
  // `bucket`: rows with padding; `heads`: query heads of a layer, at most. bytes() are none when no row chooses and no
  // prompt is compressed.
  void describe(const VivaceDeviceRun& run, const DeviceLabels& labels, int64_t bucket, int heads);

  const std::vector<std::byte>& bytes() const { return bytes_; }
  bool choosing() const { return !rows_.empty(); }
  bool compresses() const { return !prompts_.empty(); }
  int64_t states() const { return states_; }  // beside those of the plan
  int64_t floats() const { return floats_; }
  // What kernels are told when the bytes lie so far behind the page tables, and what rows work with behind so many
  // floats of states, `planned` of which are the plan's. `states`: [bucket], filled.
  PolicySizes placed(int64_t at, int64_t floats, int64_t planned, int32_t* states) const;

 private:
  void find_choosing(const VivaceDeviceRun& run, const DeviceLabels& labels, int heads);
  void add_prompts(const VivaceDeviceBatch& batch);
  int64_t take(int64_t floats);
  template <class T>
  int64_t append(const T* from, size_t count);

  std::vector<std::byte> bytes_;
  std::vector<ChoosingRow> rows_;
  std::vector<CompressedPrompt> prompts_;
  PolicySizes sizes_;
  int64_t bucket_ = 0, states_ = 0, floats_ = 0;
};

}  // namespace vivace::cuda
