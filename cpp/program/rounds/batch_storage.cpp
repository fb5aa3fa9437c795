#include "program/rounds/batch_storage.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "caches/paged_kv.h"
#include "core/error.h"

namespace vivace {

void BatchStorage::build(const BatchRequest& request, PagedKv* kv, int ahead, int drafted) {
  policy_ = kv != nullptr && !kv->options().policy.rotation.tables.empty() ? kv : nullptr;
  make_room(std::max(request.rows, ahead > 0 ? request.outputs * drafted : 0));
  const size_t rows = static_cast<size_t>(request.rows);
  tokens_.assign(request.tokens, request.tokens + rows);
  positions_.assign(request.positions, request.positions + rows);
  sequences_.assign(request.sequences, request.sequences + rows);
  output_rows_.assign(request.output_rows, request.output_rows + request.outputs);
  cells_.assign(rows, 0);
  first_cells_.assign(rows, 0);
  visible_.assign(rows, 0);
  ordinals_.assign(rows, 0);
  added_offsets_.assign(rows, 0);
  masks_.clear();
  groups_.clear();
  tree_ = request.parents != nullptr;
  parents_.clear();
  if (tree_) parents_.assign(request.parents, request.parents + rows);
  for (int32_t row : output_rows_)
    if (row < 0 || row >= request.rows) throw Error("INTERNAL", "run: an output row is outside the batch");

  std::unordered_map<int, size_t> group_of;
  for (size_t row = 0; row < rows; ++row) {
    const int sequence = sequences_[row];
    auto [entry, fresh] = group_of.emplace(sequence, groups_.size());
    if (fresh) {
      if (kv == nullptr || !kv->alive(sequence)) throw Error("INTERNAL", "run: a row's sequence does not exist");
      groups_.push_back({sequence, kv->length(sequence), {}});
    }
    Group& group = groups_[entry->second];
    if (positions_[row] < 0) throw Error("INTERNAL", "run: a position is negative");
    ordinals_[row] = static_cast<int32_t>(group.rows.size());
    first_cells_[row] = group.first_cell;
    cells_[row] = group.first_cell + ordinals_[row];
    visible_[row] = tree_ ? group.first_cell : cells_[row] + 1;
    if (!tree_ && positions_[row] != cells_[row])
      throw Error("INTERNAL", "run: the position of a chain row must be its place in the sequence");
    group.rows.push_back(static_cast<int32_t>(row));
  }
  added_positions_.clear();
  for (const Group& group : groups_) {
    const int32_t offset = static_cast<int32_t>(added_positions_.size());
    for (int32_t row : group.rows) {
      added_offsets_[row] = offset;
      added_positions_.push_back(positions_[row]);
    }
  }
  if (tree_) build_masks(request);
  for (const Group& group : groups_) kv->reserve(group.sequence, static_cast<int>(group.rows.size()));
  for (Group& group : groups_) {
    if (ahead > 0) kv->reserve_ahead(group.sequence, static_cast<int>(group.rows.size()) + ahead);
    group.reserved = kv->reserved(group.sequence);
  }
  find_seats();
  show(request.rows, request.outputs);
}

// The addresses of the arrays are known to the run: they stay when a batch follows.
void BatchStorage::make_room(int64_t rows) {
  for (std::vector<int32_t>* list : {&tokens_, &positions_, &sequences_, &cells_, &first_cells_, &visible_,
                                     &output_rows_, &added_positions_, &added_offsets_})
    list->reserve(static_cast<size_t>(rows));
  if (policy_ != nullptr) sink_angles_.reserve(static_cast<size_t>(rows * policy_->sink_angles().width()));
}

void BatchStorage::find_angles(int64_t rows) {
  batch_.sink_angles = nullptr;
  if (policy_ == nullptr) return;
  const SinkAngles& angles = policy_->sink_angles();
  sink_angles_.resize(static_cast<size_t>(rows * angles.width()));
  for (int64_t row = 0; row < rows; ++row)
    angles.of_query(policy_->options().policy.rotation, positions_[static_cast<size_t>(row)],
                    sink_angles_.data() + row * angles.width());
  batch_.sink_angles = sink_angles_.data();
  batch_.sink_stride = angles.width();
}

void BatchStorage::show(int64_t rows, int64_t outputs) {
  find_angles(rows);
  batch_.rows = rows;
  batch_.tokens = tokens_.data();
  batch_.positions = positions_.data();
  batch_.sequences = sequences_.data();
  batch_.cells = cells_.data();
  batch_.first_cells = first_cells_.data();
  batch_.visible = visible_.data();
  batch_.tree_mask = tree_ ? masks_.data() : nullptr;
  batch_.added_positions = added_positions_.data();
  batch_.added = static_cast<int64_t>(added_positions_.size());
  batch_.added_offsets = added_offsets_.data();
  batch_.output_rows = output_rows_.data();
  batch_.outputs = outputs;
}

// A row sees itself and all that its parent sees. Parents come before their children. As long as each row of a sequence
// follows the one before it, they are a chain's: a prompt beside somebody's tree is a prompt.
void BatchStorage::build_masks(const BatchRequest& request) {
  size_t longest = 0;
  for (const Group& group : groups_) longest = group.rows.size() > longest ? group.rows.size() : longest;
  const size_t words = (longest + 63) / 64;
  batch_.tree_words = static_cast<int64_t>(words);
  masks_.assign(static_cast<size_t>(request.rows) * words, 0);
  for (int64_t row = 0; row < request.rows; ++row) {
    const int32_t parent = request.parents[row];
    uint64_t* mask = masks_.data() + static_cast<size_t>(row) * words;
    if (parent >= 0) {
      if (parent >= row || sequences_[parent] != sequences_[row] || positions_[row] != positions_[parent] + 1)
        throw Error("INTERNAL", "run: a tree row's parent must come before it, one position earlier, in its sequence");
      const uint64_t* inherited = masks_.data() + static_cast<size_t>(parent) * words;
      for (size_t word = 0; word < words; ++word) mask[word] = inherited[word];
    } else if (positions_[row] != first_cells_[row]) {
      throw Error("INTERNAL", "run: the position of a tree's root must be the length of its sequence");
    }
    mask[ordinals_[row] / 64] |= uint64_t{1} << (ordinals_[row] % 64);
    const bool follows =
        parent < 0 ? ordinals_[row] == 0 : cells_[parent] + 1 == cells_[row] && visible_[parent] == cells_[row];
    if (follows) visible_[row] = cells_[row] + 1;
  }
}

// By sequence: its outputs, in one piece, are its last rows. Else nothing can follow.
void BatchStorage::find_seats() {
  seats_.clear();
  if (tree_) return;
  std::vector<Seat> seats;
  for (size_t i = 0; i < output_rows_.size();) {
    const auto first = static_cast<size_t>(output_rows_[i]);
    const auto group = std::find_if(groups_.begin(), groups_.end(),
                                    [&](const Group& one) { return one.sequence == sequences_[first]; });
    size_t outputs = 0;
    while (i + outputs < output_rows_.size() &&
           sequences_[static_cast<size_t>(output_rows_[i + outputs])] == group->sequence)
      ++outputs;
    const size_t rows = group->rows.size();
    for (size_t k = 0; k < outputs; ++k)
      if (outputs > rows || output_rows_[i + k] != group->rows[rows - outputs + k]) return;
    seats.push_back({group->sequence, cells_[first], group->reserved});
    i += outputs;
  }
  if (seats.size() == groups_.size()) seats_ = std::move(seats);
}

int64_t BatchStorage::cells_behind(int64_t output) const {
  const int32_t row = output_rows_[static_cast<size_t>(output)];
  for (const Group& group : groups_)
    if (!tree_ && group.rows.back() == row) return group.reserved - cells_[static_cast<size_t>(row)] - 1;
  return -1;
}

bool BatchStorage::can_follow() const {
  return !seats_.empty();
}

int64_t BatchStorage::room(size_t sequence, int64_t kept) const {
  return seats_[sequence].end - seats_[sequence].cell - kept;
}

void BatchStorage::follow(const std::vector<NextRows>& next) {
  size_t rows = 0;
  for (const NextRows& one : next) rows += one.tokens.size();
  for (std::vector<int32_t>* list : {&tokens_, &positions_, &sequences_, &cells_, &first_cells_, &visible_,
                                     &output_rows_, &added_positions_, &added_offsets_})
    list->resize(rows);
  size_t row = 0;
  for (size_t i = 0; i < next.size(); ++i) {
    Seat& seat = seats_[i];
    seat.cell += static_cast<int32_t>(next[i].kept);
    const auto offset = static_cast<int32_t>(row);
    for (size_t k = 0; k < next[i].tokens.size(); ++k, ++row) {
      const int32_t cell = seat.cell + static_cast<int32_t>(k);
      tokens_[row] = next[i].tokens[k];
      sequences_[row] = seat.sequence;
      positions_[row] = added_positions_[row] = cells_[row] = cell;
      first_cells_[row] = seat.cell;
      visible_[row] = cell + 1;
      added_offsets_[row] = offset;
      output_rows_[row] = static_cast<int32_t>(row);
    }
  }
  show(static_cast<int64_t>(rows), static_cast<int64_t>(rows));
}

void BatchStorage::describe(Walk& walk, int64_t rows) const {
  const auto outputs = static_cast<int64_t>(output_rows_.size());
  const auto again = static_cast<int64_t>(walk.reflection.rows.size());
  if (rows < 1 || walk.output < 0 || walk.output > outputs - rows - again)
    throw Error("INTERNAL", "run: a draft's rows are not among the outputs");
  const int32_t root = output_rows_[static_cast<size_t>(walk.output)];
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t row = output_rows_[static_cast<size_t>(walk.output + i)];
    const auto at = static_cast<size_t>(row);
    int32_t parent = static_cast<int32_t>(i) - 1;
    if (tree_ && i > 0) parent = parents_[at] - root;
    if (row != root + i || sequences_[at] != sequences_[static_cast<size_t>(root)] || parent >= i ||
        (i > 0 && parent < 0))
      throw Error("INTERNAL", "run: a draft's rows must follow its root");
    walk.tokens.push_back(tokens_[at]);
    walk.parents.push_back(parent);
  }
  const size_t next = static_cast<size_t>(root + rows);
  // Rows of a tree may follow that are no part of the draft: they are never kept.
  if (!tree_ && again == 0 && next < sequences_.size() && sequences_[next] == sequences_[static_cast<size_t>(root)])
    throw Error("INTERNAL", "run: a draft's rows must be the last ones of their sequence");
  for (int64_t i = 0; i < again; ++i) {
    const int32_t row = output_rows_[static_cast<size_t>(walk.output + rows + i)];
    const int32_t own = walk.reflection.rows[static_cast<size_t>(i)];
    if (row < root + rows || sequences_[static_cast<size_t>(row)] != sequences_[static_cast<size_t>(root)] || own < 0 ||
        own >= rows)
      throw Error("INTERNAL", "run: a second reading must follow its draft");
  }
}

void BatchStorage::commit(PagedKv* kv, const std::vector<Walk>& walks) const {
  for (const Group& group : groups_) {
    const Walk* own = nullptr;
    for (const Walk& walk : walks)
      if (sequences_[static_cast<size_t>(output_rows_[static_cast<size_t>(walk.output)])] == group.sequence)
        own = &walk;
    if (own == nullptr) {
      if (!tree_) kv->commit(group.sequence, static_cast<int>(group.rows.size()));
      continue;
    }
    const int32_t before = ordinals_[static_cast<size_t>(output_rows_[static_cast<size_t>(own->output)])];
    std::vector<int32_t> kept;
    for (int32_t i = 0; i < before; ++i) kept.push_back(i);
    for (const int32_t row : own->kept) kept.push_back(before + row);
    kv->keep(group.sequence, kept.data(), static_cast<int>(kept.size()));
  }
}

}  // namespace vivace
