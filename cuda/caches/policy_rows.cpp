#include "cuda/caches/policy_rows.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vivace::cuda {
namespace {

int64_t rounded(int64_t count, int64_t unit) {
  return (count + unit - 1) / unit * unit;
}

// Chunks of so many chosen cells or fewer: chunks get longer at some lengths.
int most_chunks(int wanted) {
  int most = 0;
  for (const int cells : {std::min(wanted, 4096), std::min(wanted, 8192), wanted}) {
    const int size = chunk_of(cells);
    most = std::max(most, (cells + size - 1) / size);
  }
  return most;
}

}  // namespace

int64_t PolicyRows::take(int64_t floats) {
  const int64_t begin = floats_;
  floats_ += rounded(floats, 4);
  return begin;
}

template <class T>
int64_t PolicyRows::append(const T* from, size_t count) {
  const size_t begin = static_cast<size_t>(rounded(static_cast<int64_t>(bytes_.size()), 8));
  bytes_.resize(begin + count * sizeof(T));
  if (count > 0) std::memcpy(bytes_.data() + begin, from, count * sizeof(T));
  return static_cast<int64_t>(begin);
}

// A window of the model's own can only make fewer of them choose, and these choose no more.
void PolicyRows::find_choosing(const VivaceDeviceRun& run, const DeviceLabels& labels, int heads) {
  const VivaceDeviceBatch& batch = *run.batch;
  const int lists = labels.grouped ? batch.cache->kv_heads : heads;
  for (int32_t i = 0; i < batch.output_count; ++i) {
    const int32_t row = batch.output_rows[i];
    int seen = batch.visible[row];
    for (int32_t word = 0; batch.tree_mask != nullptr && word < batch.tree_words; ++word)
      seen += std::popcount(batch.tree_mask[int64_t{row} * batch.tree_words + word]);
    const int wanted = chosen_cells(labels, seen);
    if (wanted == seen || (!rows_.empty() && rows_.back().row == row)) continue;
    const int slots = static_cast<int>(rounded(seen, scan_slots)), chunks = most_chunks(wanted);
    const int32_t state = chunks > 1 ? static_cast<int32_t>(states_) : one_chunk;
    if (chunks > 1) states_ += chunks;
    rows_.push_back({row, slots, wanted, state, take(int64_t{lists} * slots),
                     take(labels.grouped ? int64_t{heads} * (slots / scan_slots) : 0), take(int64_t{lists} * wanted)});
    sizes_.parts = std::max(sizes_.parts, slots / scan_slots);
    sizes_.chunks = std::max(sizes_.chunks, chunks);
  }
}

void PolicyRows::add_prompts(const VivaceDeviceBatch& batch) {
  for (int32_t i = 0; i < batch.prompt_count; ++i) {
    const VivaceDevicePrompt& given = batch.prompts[i];
    const int64_t heads = batch.cache->kv_heads, queries = int64_t{given.voters} * given.group;
    CompressedPrompt prompt{};
    prompt.sequence = given.sequence;
    prompt.cells = given.cells;
    prompt.kept = given.kept;
    prompt.prefix = given.prefix;
    prompt.voters = given.voters;
    prompt.spans = given.spans;
    prompt.kernel = given.kernel;
    prompt.pooling = given.pooling;
    prompt.aggregation = given.aggregation;
    prompt.keep_first = given.keep_first;
    prompt.rows = append(given.rows, static_cast<size_t>(given.voters));
    const int32_t page_size = batch.cache->page_size;
    prompt.pages = append(given.pages, static_cast<size_t>((given.kept + page_size - 1) / page_size));
    prompt.sums = take(heads * given.spans * queries * 2);
    prompt.votes = take(heads * given.prefix);
    prompt.pooled = take(heads * given.prefix);
    prompt.chosen = take(heads * given.kept);
    prompts_.push_back(prompt);
    sizes_.most_cells = std::max(sizes_.most_cells, given.cells);
    sizes_.most_kept = std::max(sizes_.most_kept, given.kept);
    sizes_.most_queries = std::max(sizes_.most_queries, static_cast<int32_t>(queries));
  }
}

void PolicyRows::describe(const VivaceDeviceRun& run, const DeviceLabels& labels, int64_t bucket, int heads) {
  bytes_.clear();
  rows_.clear();
  prompts_.clear();
  sizes_ = {};
  states_ = floats_ = 0;
  bucket_ = bucket;
  if (run.batch == nullptr) return;
  if (labels.channels > 0) find_choosing(run, labels, heads);
  if (rows_.empty() && run.batch->prompt_count == 0) return;
  sizes_.choosing = static_cast<int32_t>(rows_.size());
  sizes_.prompts = run.batch->prompt_count;
  std::vector<int32_t> which(static_cast<size_t>(bucket), -1);
  for (size_t i = 0; i < rows_.size(); ++i) which[static_cast<size_t>(rows_[i].row)] = static_cast<int32_t>(i);
  append(which.data(), which.size());
  sizes_.rows = append(rows_.data(), rows_.size());
  add_prompts(*run.batch);
  sizes_.prompts_at = append(prompts_.data(), prompts_.size());
  bytes_.resize(static_cast<size_t>(rounded(static_cast<int64_t>(bytes_.size()), 8)));
}

PolicySizes PolicyRows::placed(int64_t at, int64_t floats, int64_t planned, int32_t* states) const {
  std::fill(states, states + bucket_, one_chunk);
  for (const ChoosingRow& row : rows_)
    if (row.state != one_chunk) states[row.row] = static_cast<int32_t>(planned) + row.state;
  PolicySizes sizes = sizes_;
  sizes.at = at;
  sizes.memory = rounded(floats, 4);
  return sizes;
}

}  // namespace vivace::cuda
