#include "program/rounds/batch_storage.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <unordered_map>

#include "caches/paged_kv.h"
#include "core/error.h"

namespace vivace {

void BatchStorage::build(const BatchRequest& request, PagedKv* kv, int ahead, int drafted, int begun,
                         const std::vector<ProbeRows>& probes) {
  policy_ = kv != nullptr && !kv->options().policy.rotation.tables.empty() ? kv : nullptr;
  make_room(std::max(request.rows, ahead > 0 ? request.outputs * drafted : 0) + begun);
  const size_t rows = static_cast<size_t>(request.rows);
  rows_.tokens.assign(request.tokens, request.tokens + rows);
  rows_.positions.assign(request.positions, request.positions + rows);
  rows_.sequences.assign(request.sequences, request.sequences + rows);
  rows_.output_rows.assign(request.output_rows, request.output_rows + request.outputs);
  rows_.cells.assign(rows, 0);
  rows_.first_cells.assign(rows, 0);
  rows_.visible.assign(rows, 0);
  ordinals_.assign(rows, 0);
  rows_.added_offsets.assign(rows, 0);
  rows_.masks.clear();
  rows_.words = 0;
  groups_.clear();
  tree_ = request.parents != nullptr;
  parents_.clear();
  if (tree_) parents_.assign(request.parents, request.parents + rows);
  for (int32_t row : rows_.output_rows)
    if (row < 0 || row >= request.rows) throw Error("INTERNAL", "run: an output row is outside the batch");

  std::unordered_map<int, size_t> group_of;
  for (size_t row = 0; row < rows; ++row) {
    const int sequence = rows_.sequences[row];
    auto [entry, fresh] = group_of.emplace(sequence, groups_.size());
    if (fresh) {
      if (kv == nullptr || !kv->alive(sequence)) throw Error("INTERNAL", "run: a row's sequence does not exist");
      const int before = request.part != nullptr ? request.part[1] : 0;
      groups_.push_back({sequence, kv->cells(sequence) + before, kv->shift(sequence), {}});
    }
    Group& group = groups_[entry->second];
    if (rows_.positions[row] < 0) throw Error("INTERNAL", "run: a position is negative");
    ordinals_[row] = static_cast<int32_t>(group.rows.size());
    rows_.first_cells[row] = group.first_cell;
    rows_.cells[row] = group.first_cell + ordinals_[row];
    rows_.visible[row] = tree_ ? group.first_cell : rows_.cells[row] + 1;
    if (!tree_ && rows_.positions[row] != rows_.cells[row] + group.shift)
      throw Error("INTERNAL", "run: the position of a chain row must be its place in the sequence");
    group.rows.push_back(static_cast<int32_t>(row));
  }
  rows_.added_positions.clear();
  for (const Group& group : groups_) {
    const int32_t offset = static_cast<int32_t>(rows_.added_positions.size());
    for (int32_t row : group.rows) {
      rows_.added_offsets[row] = offset;
      rows_.added_positions.push_back(rows_.positions[row]);
    }
  }
  if (tree_) build_masks(request);
  part_ = {};
  if (request.part != nullptr) return begin_part(request, kv);
  for (const Group& group : groups_) kv->reserve(group.sequence, static_cast<int>(group.rows.size()) + begun);
  for (Group& group : groups_) {
    if (ahead > 0) kv->reserve_ahead(group.sequence, static_cast<int>(group.rows.size()) + ahead);
    group.reserved = kv->reserved(group.sequence);
  }
  find_seats(probes);
  batch_ = rows_.show();
  begin_compression(request, kv, ahead);
  find_angles();
}

void BatchStorage::begin_part(const BatchRequest& request, PagedKv* kv) {
  const int32_t layer = request.part[0], first = request.part[1], added = request.part[2], voters = request.part[3];
  if (groups_.size() != 1 || tree_ || request.compressed > 0 || first < 0 || first + request.rows > added)
    throw Error("INTERNAL", "run: a part wants the rows of one prompt");
  const Group& group = groups_[0];
  Compaction& prompt = kv->begin_layer(group.sequence, layer, first, added, voters, request.carried);
  part_ = {layer, first + request.rows == added, prompt.carried.data() + first * prompt.carried_bytes};
  if (part_.ends && request.rows < voters) throw Error("INTERNAL", "run: all rows that vote are in one run");
  seats_.clear();
  compressed_.clear();
  batch_ = rows_.show();
  if (!part_.ends) return;
  std::copy(group.rows.end() - voters, group.rows.end(), prompt.rows);
  compressed_.push_back(group.sequence);
  batch_.compressed_sequences = compressed_.data();
  batch_.compressed = 1;
}

void BatchStorage::begin_compression(const BatchRequest& request, PagedKv* kv, int ahead) {
  compressed_.clear();
  if (request.compressed > 0 && ahead > 0) throw Error("INTERNAL", "run: a round that compresses does not go on");
  for (int64_t i = 0; i < request.compressed; ++i) {
    const int sequence = request.compress[2 * i], voters = request.compress[2 * i + 1];
    const auto group =
        std::find_if(groups_.begin(), groups_.end(), [&](const Group& one) { return one.sequence == sequence; });
    if (group == groups_.end()) throw Error("INTERNAL", "run: a prompt to compress has no rows");
    const std::vector<int32_t>& rows = group->rows;
    for (const int32_t row : rows)
      if (rows_.visible[row] != rows_.cells[row] + 1)
        throw Error("INTERNAL", "run: a prompt to compress must be a chain");
    const Compaction& begun = kv->begin_compaction(sequence, static_cast<int>(rows.size()), voters);
    std::copy(rows.end() - voters, rows.end(), begun.rows);
    compressed_.push_back(sequence);
  }
  batch_.compressed_sequences = compressed_.data();
  batch_.compressed = static_cast<int64_t>(compressed_.size());
}

// The addresses of the arrays are known to the run: they stay when a batch follows.
void BatchStorage::make_room(int64_t rows) {
  for (std::vector<int32_t>* list : rows_.lists()) list->reserve(static_cast<size_t>(rows));
  if (policy_ != nullptr) sink_angles_.reserve(static_cast<size_t>(rows * policy_->sink_angles().width()));
}

void BatchStorage::find_angles() {
  if (policy_ == nullptr) return;
  const SinkAngles& angles = policy_->sink_angles();
  sink_angles_.resize(static_cast<size_t>(batch_.rows * angles.width()));
  for (int64_t row = 0; row < batch_.rows; ++row)
    angles.of_query(policy_->options().policy.rotation, rows_.positions[static_cast<size_t>(row)],
                    sink_angles_.data() + row * angles.width());
  batch_.sink_angles = sink_angles_.data();
  batch_.sink_stride = angles.width();
}

// A row sees itself and all that its parent sees. Parents come before their children. As long as each row of a sequence
// follows the one before it, they are a chain's: a prompt beside somebody's tree is a prompt.
void BatchStorage::build_masks(const BatchRequest& request) {
  size_t longest = 0;
  for (const Group& group : groups_) longest = group.rows.size() > longest ? group.rows.size() : longest;
  rows_.words = (longest + 63) / 64;
  rows_.masks.assign(static_cast<size_t>(request.rows) * rows_.words, 0);
  std::unordered_map<int, int> shifts;
  for (const Group& group : groups_) shifts.emplace(group.sequence, group.shift);
  for (int64_t row = 0; row < request.rows; ++row) {
    const int32_t parent = request.parents[row];
    if (parent >= 0) {
      if (parent >= row || rows_.sequences[parent] != rows_.sequences[row] ||
          rows_.positions[row] != rows_.positions[parent] + 1)
        throw Error("INTERNAL", "run: a tree row's parent must come before it, one position earlier, in its sequence");
    } else if (rows_.positions[row] != rows_.first_cells[row] + shifts[rows_.sequences[row]]) {
      throw Error("INTERNAL", "run: the position of a tree's root must be the length of its sequence");
    }
    rows_.inherit(static_cast<size_t>(row), parent, ordinals_[row]);
    const bool follows = parent < 0
                             ? ordinals_[row] == 0
                             : rows_.cells[parent] + 1 == rows_.cells[row] && rows_.visible[parent] == rows_.cells[row];
    if (follows) rows_.visible[row] = rows_.cells[row] + 1;
  }
}

// By sequence: its outputs, in one piece, are its last rows but for those of a probe. Else nothing can follow.
void BatchStorage::find_seats(const std::vector<ProbeRows>& probes) {
  seats_.clear();
  std::vector<Seat> seats;
  for (size_t i = 0; i < rows_.output_rows.size();) {
    const auto first = static_cast<size_t>(rows_.output_rows[i]);
    const auto group = std::find_if(groups_.begin(), groups_.end(),
                                    [&](const Group& one) { return one.sequence == rows_.sequences[first]; });
    size_t outputs = 0;
    while (i + outputs < rows_.output_rows.size() &&
           rows_.sequences[static_cast<size_t>(rows_.output_rows[i + outputs])] == group->sequence)
      ++outputs;
    const ProbeRows probe = seats.size() < probes.size() ? probes[seats.size()] : ProbeRows();
    const auto all = static_cast<int64_t>(group->rows.size()), own = static_cast<int64_t>(outputs) - probe.outputs;
    const int64_t before = all - probe.rows - own;
    if (own < 1 || before < 0 || probe.outputs > probe.rows) return;
    std::vector<int32_t> rows(group->rows.begin(), group->rows.end() - probe.rows);
    for (int64_t k = 0; k < own; ++k)
      if (rows_.output_rows[i + static_cast<size_t>(k)] != rows[static_cast<size_t>(before + k)]) return;
    seats.push_back({group->sequence, rows_.cells[first], group->shift, group->reserved, std::move(rows),
                     static_cast<size_t>(before)});
    i += outputs;
  }
  if (seats.size() == groups_.size()) seats_ = std::move(seats);
}

int64_t BatchStorage::cells_behind(int64_t output) const {
  const int32_t row = rows_.output_rows[static_cast<size_t>(output)];
  for (const Group& group : groups_)
    if (!tree_ && group.rows.back() == row) return group.reserved - rows_.cells[static_cast<size_t>(row)] - 1;
  return -1;
}

bool BatchStorage::can_follow() const {
  return !seats_.empty();
}

int64_t BatchStorage::room(size_t sequence, int64_t kept) const {
  return seats_[sequence].end - seats_[sequence].cell - kept;
}

void BatchStorage::keep(PagedKv* kv, size_t sequence, const std::vector<int32_t>& kept) const {
  if (tree_) kv->move(seats_[sequence].sequence, seats_[sequence].cell, kept.data(), static_cast<int>(kept.size()));
}

std::vector<int32_t> BatchStorage::staying(size_t sequence, const std::vector<int32_t>& kept) const {
  const Seat& seat = seats_[sequence];
  std::vector<int32_t> rows(seat.rows.begin(), seat.rows.begin() + static_cast<ptrdiff_t>(seat.before));
  for (const int32_t output : kept) rows.push_back(seat.rows[seat.before + static_cast<size_t>(output)]);
  return rows;
}

void BatchStorage::follow(const std::vector<NextRows>& next) {
  size_t rows = 0, longest = 0;
  tree_ = false;
  for (const NextRows& one : next) {
    const size_t own = one.tokens.size() + (one.probe == nullptr ? 0 : one.probe->tokens.size());
    rows += own;
    longest = std::max(longest, own);
    tree_ = tree_ || !one.parents.empty() || one.probe != nullptr;
  }
  rows_.words = tree_ ? (longest + 63) / 64 : 0;
  rows_.resize(rows);
  size_t row = 0, outputs = 0;
  for (size_t i = 0; i < next.size(); ++i) {
    Seat& seat = seats_[i];
    seat.cell += static_cast<int32_t>(next[i].kept);
    const auto offset = static_cast<int32_t>(row);
    const size_t own = next[i].tokens.size();
    const Probe* const probe = next[i].probe;
    seat.before = 0;
    seat.rows.resize(own);
    std::iota(seat.rows.begin(), seat.rows.end(), offset);
    for (size_t k = 0; k < own + (probe == nullptr ? 0 : probe->tokens.size()); ++k, ++row) {
      const auto ordinal = static_cast<int32_t>(k);
      const int32_t cell = seat.cell + ordinal;
      int32_t parent = ordinal - 1;
      if (k >= own)
        parent = probe->parents[k - own] < 0 ? 0 : static_cast<int32_t>(own) + probe->parents[k - own];
      else if (!next[i].parents.empty())
        parent = next[i].parents[k];
      const int32_t before = parent < 0 ? -1 : offset + parent;  // its row
      rows_.tokens[row] = k < own ? next[i].tokens[k] : probe->tokens[k - own];
      rows_.sequences[row] = seat.sequence;
      rows_.positions[row] = rows_.added_positions[row] = before < 0 ? cell + seat.shift : rows_.positions[before] + 1;
      rows_.cells[row] = cell;
      rows_.first_cells[row] = seat.cell;
      // Rows of a tree that follow each other from the root on see as a chain's do.
      const bool follows = before < 0 || (parent + 1 == ordinal && rows_.visible[before] == cell);
      rows_.visible[row] = follows ? cell + 1 : seat.cell;
      if (tree_) rows_.inherit(row, before, ordinal);
      rows_.added_offsets[row] = offset;
      const bool silent = k >= own && k + static_cast<size_t>(probe->outputs) < own + probe->tokens.size();
      if (!silent) rows_.output_rows[outputs++] = static_cast<int32_t>(row);
    }
  }
  rows_.output_rows.resize(outputs);
  batch_ = rows_.show();
  find_angles();
}

void BatchStorage::extend(const std::vector<int32_t>& tokens, const std::vector<int32_t>& parents) {
  if (seats_.size() != 1 || rows_.output_rows.size() != 1 || tree_)
    throw Error("INTERNAL", "run: a draft comes behind one chain");
  Group& group = groups_.front();
  const auto root = static_cast<int32_t>(rows_.tokens.size()) - 1;
  for (size_t k = 0; k < tokens.size(); ++k) {
    const int32_t row = root + 1 + static_cast<int32_t>(k), before = root + 1 + parents[k];
    const auto parent = static_cast<size_t>(before);
    const auto ordinal = static_cast<int32_t>(group.rows.size());
    const int32_t cell = group.first_cell + ordinal;
    const bool follows = before + 1 == row && rows_.visible[parent] == cell;
    tree_ = tree_ || before + 1 != row;
    rows_.tokens.push_back(tokens[k]);
    rows_.positions.push_back(rows_.positions[parent] + 1);
    rows_.added_positions.push_back(rows_.positions[parent] + 1);
    rows_.sequences.push_back(group.sequence);
    rows_.cells.push_back(cell);
    rows_.first_cells.push_back(group.first_cell);
    rows_.visible.push_back(follows ? cell + 1 : group.first_cell);
    rows_.added_offsets.push_back(0);
    rows_.output_rows.push_back(row);
    ordinals_.push_back(ordinal);
    group.rows.push_back(row);
  }
  if (tree_) {
    rows_.words = (group.rows.size() + 63) / 64;
    rows_.masks.assign(group.rows.size() * rows_.words, 0);
    for (int32_t row = 0; row <= root; ++row) rows_.inherit(static_cast<size_t>(row), row - 1, row);
    for (size_t k = 0; k < tokens.size(); ++k) {
      const int32_t row = root + 1 + static_cast<int32_t>(k);
      rows_.inherit(static_cast<size_t>(row), root + 1 + parents[k], row);
    }
  }
  find_seats();
  batch_ = rows_.show();
  find_angles();
}

void BatchStorage::describe(Walk& walk, int64_t rows) const {
  const auto outputs = static_cast<int64_t>(rows_.output_rows.size());
  const auto again = static_cast<int64_t>(walk.reflection.rows.size());
  if (rows < 1 || walk.output < 0 || walk.output > outputs - rows - again)
    throw Error("INTERNAL", "run: a draft's rows are not among the outputs");
  const int32_t root = rows_.output_rows[static_cast<size_t>(walk.output)];
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t row = rows_.output_rows[static_cast<size_t>(walk.output + i)];
    const auto at = static_cast<size_t>(row);
    int32_t parent = static_cast<int32_t>(i) - 1;
    if (tree_ && i > 0) parent = parents_[at] - root;
    if (row != root + i || rows_.sequences[at] != rows_.sequences[static_cast<size_t>(root)] || parent >= i ||
        (i > 0 && parent < 0))
      throw Error("INTERNAL", "run: a draft's rows must follow its root");
    walk.tokens.push_back(rows_.tokens[at]);
    walk.parents.push_back(parent);
  }
  const size_t next = static_cast<size_t>(root + rows);
  // Rows of a tree may follow that are no part of the draft: they are never kept.
  if (!tree_ && again == 0 && next < rows_.sequences.size() &&
      rows_.sequences[next] == rows_.sequences[static_cast<size_t>(root)])
    throw Error("INTERNAL", "run: a draft's rows must be the last ones of their sequence");
  for (int64_t i = 0; i < again; ++i) {
    const int32_t row = rows_.output_rows[static_cast<size_t>(walk.output + rows + i)];
    const int32_t own = walk.reflection.rows[static_cast<size_t>(i)];
    if (row < root + rows || rows_.sequences[static_cast<size_t>(row)] != rows_.sequences[static_cast<size_t>(root)] ||
        own < 0 || own >= rows)
      throw Error("INTERNAL", "run: a second reading must follow its draft");
  }
}

void BatchStorage::commit(PagedKv* kv, const std::vector<Walk>& walks) const {
  if (part_.layer >= 0) {
    if (part_.ends) kv->pass_layer(groups_[0].sequence);
    return;
  }
  for (const Group& group : groups_) {
    const Walk* own = nullptr;
    for (const Walk& walk : walks)
      if (rows_.sequences[static_cast<size_t>(rows_.output_rows[static_cast<size_t>(walk.output)])] == group.sequence)
        own = &walk;
    if (own == nullptr) {
      if (!tree_) kv->commit(group.sequence, static_cast<int>(group.rows.size()));
      continue;
    }
    const int32_t before = ordinals_[static_cast<size_t>(rows_.output_rows[static_cast<size_t>(own->output)])];
    std::vector<int32_t> kept;
    for (int32_t i = 0; i < before; ++i) kept.push_back(i);
    for (const int32_t row : own->kept) kept.push_back(before + row);
    kv->keep(group.sequence, kept.data(), static_cast<int>(kept.size()));
  }
}

}  // namespace vivace
