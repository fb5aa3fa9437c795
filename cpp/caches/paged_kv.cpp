// Page bookkeeping runs on the JavaScript thread; kernels of a run in flight read pages of other sequences meanwhile.
// That is safe because the tables never move (reserved once) and a page is only freed when no sequence holds it.
#include "caches/paged_kv.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "offload/offloaded_layers.h"

namespace vivace {
namespace {

constexpr size_t max_sequences = 65536;
constexpr int64_t most_table_pages = int64_t{1} << 22;
constexpr int64_t most_spare_bytes = int64_t{4}
                                     << 20;  // of freed pages kept for reuse; others go back to the system at once

}  // namespace

PagedKv::PagedKv(const PagedKvOptions& options, std::unique_ptr<PageStore> store)
    : options_(options), store_(std::move(store)), prefixes_(options.page_size, options.hash_bits) {
  const auto fits = [](DType dtype, int dim) {
    return dtype == DType::F32 || dtype == DType::F16 ||
           ((dtype == DType::Q8_0 || dtype == DType::Q4_0) && dim % 32 == 0);
  };
  const bool channels = options.key_dtype == DType::KIVI4 && options.key_dim % 32 == 0;
  if (options.layers < 1 || options.kv_heads < 1 || options.key_dim < 1 || options.value_dim < 1 ||
      options.page_size < 1 || options.page_size > 4096 || options.max_pages < 1 || options.hash_bits < 1)
    throw Error("INVALID_ARGUMENT", "KV cache: every dimension must be at least 1, and a page at most 4096 tokens");
  if (!(channels || fits(options.key_dtype, options.key_dim)) || !fits(options.value_dtype, options.value_dim))
    throw Error("UNSUPPORTED_FEATURE",
                "KV cache: types are F32, F16, or Q8_0 and Q4_0 for head sizes that are a multiple of 32",
                "Use f16 for keys and values.");
  if (channels && (options.page_size != 32 || !options.policy.full() || store_->place() != nullptr))
    throw Error("UNSUPPORTED_FEATURE",
                "KV cache: keys are quantised by channel in pages of 32 tokens, on the CPU and without a cache policy",
                "Use other keys: q8_0 or q4_0.");
  key_row_bytes_ = row_bytes(options.key_dtype, options.key_dim);
  value_row_bytes_ = row_bytes(options.value_dtype, options.value_dim);
  key_head_bytes_ = key_row_bytes_ * options.page_size;
  value_head_bytes_ = value_row_bytes_ * options.page_size;
  value_offset_ = key_head_bytes_ * options.kv_heads;
  layer_bytes_ = value_offset_ + value_head_bytes_ * options.kv_heads;
  page_bytes_ = layer_bytes_ * options.layers;
  check_policy();
  by_layer_ = options.policy.snap.budget > 0 && store_->place() == nullptr;
  groups_ = page_groups({options.layers, options.kv_heads, options.page_size, key_head_bytes_, value_head_bytes_,
                         channels ? 0 : key_row_bytes_, value_row_bytes_, by_layer_},
                        options.policy);
  if (options.offload.memory > 0) set_offload();
  if (options.policy.labels.channels > 0) set_labels();
  places_.resize(static_cast<size_t>(options.layers) * static_cast<size_t>(options.kv_heads));
  int64_t smallest = page_bytes_;
  for (size_t i = 0; i < groups_.size(); ++i) {
    smallest = std::min(smallest, groups_[i].page_bytes);
    for (const PageGroup::Part& part : groups_[i].parts)
      places_[static_cast<size_t>(part.layer * options.kv_heads + part.head)] = {static_cast<int>(i), part.key,
                                                                                 part.value};
  }
  if (offloaded_) place_offloaded();
  if (channels) add_exact_keys();
  for (const PageGroup& group : groups_) all_bytes_ += group.page_bytes;
  free_.resize(groups_.size());
  // Where all layers keep the same, a text has at most max_pages pages at a time; else some groups have more of theirs.
  const bool one = groups_.size() == 1;
  table_pages_ =
      one ? options_.max_pages : std::min((by_layer_ ? options.layers : 4) * options.max_pages, most_table_pages);
  most_pages_ = one ? options_.max_pages
                    : std::min(options.max_pages * (page_bytes_ / smallest) * (channels ? 2 : 1), most_table_pages);
  for (const PageGroup& group : groups_)  // so that tables which begin again hold at least the sinks and a page
    table_pages_ = std::max(table_pages_, group.sink_pages() + 2);
  int sinks = 0;
  for (const LayerPattern& one : options.policy.layers) sinks = std::max(sinks, one.sinks);
  angles_ = SinkAngles(options.policy.rotation, sinks);
  sequences_.reserve(max_sequences);
  pages_.reserve(static_cast<size_t>(most_pages_));
}

void PagedKv::check_policy() const {
  const CachePolicy& policy = options_.policy;
  bool right = policy.layers.empty() || policy.layers.size() == static_cast<size_t>(options_.layers);
  right = right && (policy.layers.empty() || policy.snap.budget == 0);
  for (const LayerPattern& one : policy.layers) {
    right = right && one.sinks >= 0 && one.window >= 0 && one.block >= 0 && (one.window == 0 || one.block == 0);
    if (one.block > 0)
      right = right && one.local > 0 && one.stride > 0 && one.head_step >= 0 && one.head_offset >= 0 &&
              (one.block % options_.page_size == 0 || options_.page_size % one.block == 0);
  }
  const SinkRotation& rotation = policy.rotation;
  if (!rotation.tables.empty()) right = right && rotation.layers.size() == policy.layers.size();
  for (const int32_t table : rotation.layers) right = right && table < static_cast<int32_t>(rotation.tables.size());
  for (const std::vector<double>& table : rotation.tables)
    right = right && 2 * table.size() <= static_cast<size_t>(options_.key_dim);
  if (!right) throw Error("INVALID_ARGUMENT", "KV cache: the policy does not fit the layers, or its blocks the pages");
}

PagedKv::~PagedKv() {
  for (const Page& page : pages_)
    if (page.data != nullptr) store_->unmap(page.data, groups_[static_cast<size_t>(page.group)].page_bytes);
}

PagedKv::Sequence& PagedKv::checked(int sequence) {
  if (!alive(sequence)) throw Error("INTERNAL", "KV cache: no such sequence");
  return sequences_[static_cast<size_t>(sequence)];
}
const PagedKv::Sequence& PagedKv::checked(int sequence) const {
  return const_cast<PagedKv*>(this)->checked(sequence);
}

bool PagedKv::alive(int sequence) const {
  return sequence >= 0 && static_cast<size_t>(sequence) < sequences_.size() && sequences_[sequence].alive;
}
int PagedKv::length(int sequence) const {
  return checked(sequence).length + checked(sequence).shift;
}
int PagedKv::cells(int sequence) const {
  return checked(sequence).length;
}
int PagedKv::shift(int sequence) const {
  return checked(sequence).shift;
}

int PagedKv::create() {
  size_t id = 0;
  while (id < sequences_.size() && sequences_[id].alive) ++id;
  if (id == max_sequences) throw Error("OUT_OF_MEMORY", "KV cache: 65536 sequences are alive", "Dispose of sessions.");
  if (id == sequences_.size()) {
    sequences_.emplace_back();
    sequences_.back().tables.resize(groups_.size());
    // Longer tables grow between runs.
    const int64_t reserved = by_layer_ ? std::min(table_pages_, options_.max_pages) : table_pages_;
    for (Table& table : sequences_.back().tables) table.entries.reserve(static_cast<size_t>(reserved));
  }
  Sequence& made = sequences_[id];
  made.alive = true;
  made.length = 0;
  made.pages = made.horizon = 0;
  made.withheld = nothing_withheld;
  for (Table& table : made.tables) {
    table.entries.clear();
    table.gone = 0;
  }
  made.shift = made.fixed = 0;
  return static_cast<int>(id);
}

template <class Body>
void PagedKv::for_pages(Sequence& sequence, int64_t begin, int64_t end, Body&& body) {
  for (size_t group = 0; group < groups_.size(); ++group) {
    const PageGroup& kind = groups_[group];
    const int64_t gone = sequence.tables[group].gone;
    for (int64_t page = begin; page < end; ++page) {
      if (page < gone && !kind.keeps(page)) {
        if (kind.bounded()) page = gone - 1;  // nothing is kept in between
        continue;
      }
      body(group, page);
    }
  }
}

int PagedKv::fork(int sequence) {
  checked(sequence);
  const int id = create();
  Sequence& from = sequences_[static_cast<size_t>(sequence)];
  Sequence& to = sequences_[static_cast<size_t>(id)];
  // Only pages with committed cells: a run in flight may have reserved more.
  const int64_t used = (int64_t{from.length} + options_.page_size - 1) / options_.page_size;
  for (size_t group = 0; group < groups_.size(); ++group) {
    const int64_t size = std::min<int64_t>(used, table_pages_);
    to.tables[group].entries.assign(static_cast<size_t>(groups_[group].bounded() ? size : used), PrefixTree::none);
    to.tables[group].gone = from.tables[group].gone;
  }
  for_pages(from, 0, used, [&](size_t group, int64_t page) {
    const int32_t held = entry(from, group, page);
    hold_page(held);
    entry(to, group, page) = held;
  });
  to.pages = used;
  to.length = from.length;
  to.horizon = from.horizon;
  to.shift = from.shift;
  to.fixed = from.fixed;
  to.withheld = from.withheld;
  return id;
}

void PagedKv::release(int sequence) {
  Sequence& gone = checked(sequence);
  end_compaction(gone);
  cut_pages(gone, 0);
  gone.alive = false;
  gone.length = 0;
}

// The last pages of a text are the first to go: fewer others begin with them.
void PagedKv::cut_pages(Sequence& sequence, int64_t pages) {
  if (sequence.pages <= pages) return;
  std::vector<std::pair<size_t, int64_t>> cut;
  for_pages(sequence, pages, sequence.pages, [&](size_t group, int64_t page) { cut.emplace_back(group, page); });
  for (auto at = cut.rbegin(); at != cut.rend(); ++at) {
    int32_t& held = entry(sequence, at->first, at->second);
    drop_page(held);
    held = PrefixTree::none;
  }
  sequence.pages = pages;
  for (Table& table : sequence.tables) {
    if (pages < table_pages_) table.entries.resize(static_cast<size_t>(pages), PrefixTree::none);
    table.gone = std::min(table.gone, pages);
  }
}

void PagedKv::truncate(int sequence, int length) {
  Sequence& short_one = checked(sequence);
  if (length < 0 || length > short_one.length + short_one.shift)
    throw Error("INTERNAL", "KV cache: truncate beyond the length");
  end_compaction(short_one);
  // What a prompt was before it was compressed is not known any more.
  if (length < short_one.fixed) length = short_one.shift = short_one.fixed = 0;
  cut(short_one, length - short_one.shift);
}

void PagedKv::cut(Sequence& shorter, int cells) {
  // What else lies in the row's own page it sees as it was.
  if (by_channel() && cells / options_.page_size < shorter.tables[1].gone) cells -= cells % options_.page_size;
  if (cells < shorter.horizon) {
    bool whole = true;
    const int64_t end = (int64_t{cells} + options_.page_size - 1) / options_.page_size;
    for (size_t group = 0; group < groups_.size(); ++group)
      for (int64_t page = 0; page < std::min(end, shorter.tables[group].gone) && whole; ++page)
        whole = groups_[group].keeps(page) || groups_[group].leaves(page, cells);
    // What a later row lacks must be computed again, and for that all that lies before it.
    if (!whole) cells = 0;
    shorter.horizon = whole ? cells : 0;
  }
  cut_pages(shorter, (int64_t{cells} + options_.page_size - 1) / options_.page_size);
  shorter.length = cells;
  if (cells <= shorter.withheld) shorter.withheld = nothing_withheld;
}

// A page of room for rollbacks: what a draft takes back is found again.
void PagedKv::retire(Sequence& sequence) {
  if (options_.policy.layers.empty() && !by_channel()) return;
  const int64_t horizon = sequence.length - int64_t{options_.page_size};
  if (horizon <= sequence.horizon) return;
  sequence.horizon = horizon;
  for (size_t group = 0; group < groups_.size(); ++group) {
    const PageGroup& kind = groups_[group];
    int64_t& gone = sequence.tables[group].gone;
    if (kind.pattern.full()) continue;
    for (; kind.leaves(gone, horizon); ++gone) {
      if (kind.keeps(gone)) continue;
      int32_t& held = entry(sequence, group, gone);
      drop_page(held);
      held = PrefixTree::none;
    }
  }
}

void PagedKv::reserve(int sequence, int count) {
  Sequence& grown = checked(sequence);
  end_compaction(grown);  // of a run that failed
  retire(grown);
  const int size = options_.page_size;
  const int64_t wanted = std::max(grown.pages, (int64_t{grown.length} + count + size - 1) / size);
  const int64_t first_written = grown.length / size, missing = wanted - grown.pages;
  int64_t bytes = missing * all_bytes_;
  std::vector<size_t> shared, published;
  for (size_t group = 0; group < groups_.size() && first_written < grown.pages; ++group) {
    const Page& written = pages_[static_cast<size_t>(entry(grown, group, first_written))];
    if (written.references > 1) {
      shared.push_back(group);
      bytes += groups_[group].page_bytes;
    } else if (written.published) {
      published.push_back(group);
    }
  }
  const int64_t most = options_.max_pages * page_bytes_;
  if (used_bytes_ + bytes > most)
    throw Error("OUT_OF_MEMORY",
                "KV cache: all " + std::to_string(options_.max_pages) + " pages of " + std::to_string(page_bytes_) +
                    " bytes are in use",
                offloaded_
                    ? "Dispose of sessions, or give offloaded layers more memory: half of it must hold one of them."
                    : "Dispose of sessions, or allow more cache when the model is loaded.");
  for (const size_t group : shared) copy_page(grown, group, first_written);
  for (const size_t group : published) {
    const int32_t written = entry(grown, group, first_written);
    // A published page is copied, too, but not where the sequence would be without memory for that.
    if (used_bytes_ + missing * all_bytes_ + groups_[group].page_bytes > most) {
      evict(written);
    } else {
      try {
        copy_page(grown, group, first_written);
      } catch (const Error&) {
        evict(written);
      }
    }
  }
  const int64_t before = grown.pages;
  try {
    for (int64_t i = 0; i < missing; ++i) {
      // All groups' entries are there before a page is asked for, so that what was taken can be given back.
      for (size_t group = 0; group < groups_.size(); ++group) {
        std::vector<int32_t>& entries = grown.tables[group].entries;
        const size_t place = place_in(groups_[group], grown.pages);
        if (place >= static_cast<size_t>(table_pages_) || (place < entries.size() && entries[place] >= 0))
          throw Error("OUT_OF_MEMORY",
                      "KV cache: a text of " + std::to_string(grown.pages) + " pages is as long as can be",
                      "Dispose of sessions, or allow more cache when the model is loaded.");
        if (place == entries.size()) entries.push_back(PrefixTree::none);
      }
      for (size_t group = 0; group < groups_.size(); ++group) {
        try {
          entry(grown, group, grown.pages) = take_page(group, missing - i);
        } catch (...) {
          for (size_t taken = 0; taken < group; ++taken) {
            drop_page(entry(grown, taken, grown.pages));
            entry(grown, taken, grown.pages) = PrefixTree::none;
          }
          throw;
        }
      }
      ++grown.pages;
    }
  } catch (...) {
    cut_pages(grown, before);
    throw;
  }
}

void PagedKv::copy_page(Sequence& grown, size_t group, int64_t page) {
  const int32_t before = entry(grown, group, page);
  const int32_t copy = take_page(group, 1);
  // Only committed cells: another owner may be writing beyond them right now.
  std::vector<PageStrip> strips;
  add_strips(strips, groups_[group], pages_[static_cast<size_t>(before)].data, 0,
             pages_[static_cast<size_t>(copy)].data, 0, grown.length % options_.page_size);
  add_label_strips(strips, pages_[static_cast<size_t>(before)].data, 0, pages_[static_cast<size_t>(copy)].data, 0,
                   grown.length % options_.page_size);
  store_->copy(strips);
  copy_offloaded(before, 0, copy, 0, grown.length % options_.page_size);
  entry(grown, group, page) = copy;
  drop_page(before);
}

void PagedKv::reserve_ahead(int sequence, int count) {
  const Sequence& grown = checked(sequence);
  for (; int64_t{grown.length} + count > reserved(sequence); count /= 2) {
    const int64_t missing = (int64_t{grown.length} + count) / options_.page_size + 1 - grown.pages;
    if (2 * (used_bytes_ + missing * all_bytes_) > options_.max_pages * page_bytes_) continue;
    try {
      return reserve(sequence, count);
    } catch (const Error&) {
      // No memory, or the text is as long as can be: then less is done ahead.
    }
  }
}

int64_t PagedKv::reserved(int sequence) const {
  return checked(sequence).pages * options_.page_size;
}

void PagedKv::commit(int sequence, int count) {
  Sequence& longer = checked(sequence);
  if (count < 0 || longer.length + int64_t{count} > reserved(sequence))
    throw Error("INTERNAL", "KV cache: committed cells must be reserved ones");
  longer.length += count;
}

void PagedKv::keep(int sequence, const int32_t* offsets, int kept) {
  Sequence& pruned = checked(sequence);
  for (int i = 0; i < kept && by_channel(); ++i)
    if (offsets[i] != i)
      throw Error("UNSUPPORTED_FEATURE",
                  "KV cache: keys by channel are quantised where they lie, so drafts are chains");
  move(sequence, pruned.length, offsets, kept);
  cut(pruned, pruned.length + kept);  // drops whole pages that only held refused cells
}

void PagedKv::move(int sequence, int first, const int32_t* offsets, int count) {
  Sequence& own = checked(sequence);
  const int size = options_.page_size;
  std::vector<PageStrip> strips;
  for (int i = 0; i < count; ++i) {
    if (offsets[i] < i || (i > 0 && offsets[i] <= offsets[i - 1]) || first + int64_t{offsets[i]} >= reserved(sequence))
      throw Error("INTERNAL", "KV cache: kept cells must ascend within the reserved ones");
    if (offsets[i] == i) continue;
    // One after the other: a cell that is read here may be written in the next step.
    const int from = first + offsets[i], to = first + i;
    strips.clear();
    for (size_t group = 0; group < groups_.size(); ++group)
      add_strips(strips, groups_[group], pages_[static_cast<size_t>(entry(own, group, from / size))].data, from % size,
                 pages_[static_cast<size_t>(entry(own, group, to / size))].data, to % size, 1);
    add_label_strips(strips, pages_[static_cast<size_t>(entry(own, 0, from / size))].data, from % size,
                     pages_[static_cast<size_t>(entry(own, 0, to / size))].data, to % size, 1);
    store_->copy(strips);
    copy_offloaded(entry(own, 0, from / size), from % size, entry(own, 0, to / size), to % size, 1);
  }
}

void PagedKv::add_strips(std::vector<PageStrip>& strips, const PageGroup& group, const std::byte* source, int from,
                         std::byte* target, int to, int64_t cells) const {
  const auto add = [&](int64_t at, int64_t row) {
    if (row > 0) strips.push_back({target + at + to * row, source + at + from * row, cells * row});
  };
  for (const PageGroup::Part& part : group.parts) {
    add(part.key, group.key_row);
    add(part.value, group.value_row);
  }
}

int64_t PagedKv::cell_bytes() const {
  return options_.layers * options_.kv_heads * (key_row_bytes_ + value_row_bytes_);
}

// Makes a strip of every row of some cells, in the order of read_cells, and moves them some thousands at a time.
template <class Strip, class Move>
void PagedKv::for_rows(int sequence, int begin, int count, Strip&& strip_of, Move&& move) const {
  constexpr size_t most_strips = 16384;  // 400 KB
  std::vector<PageStrip> strips;
  const int size = options_.page_size;
  for (int cell = begin; cell < begin + count; ++cell) {
    for (int layer = 0; layer < options_.layers; ++layer) {
      if (offloaded_layer(layer) >= 0) {
        strip_of(nullptr, cell_bytes() / options_.layers);  // these move by themselves
        continue;
      }
      for (int head = 0; head < options_.kv_heads; ++head)
        strips.push_back(
            strip_of(keys(sequence, cell / size, layer, head) + cell % size * key_row_bytes_, key_row_bytes_));
      for (int head = 0; head < options_.kv_heads; ++head)
        strips.push_back(
            strip_of(values(sequence, cell / size, layer, head) + cell % size * value_row_bytes_, value_row_bytes_));
    }
    if (strips.size() < most_strips && cell + 1 < begin + count) continue;
    move(strips);
    strips.clear();
  }
}

void PagedKv::read_cells(int sequence, int begin, int count, std::byte* out) const {
  const Sequence& source = checked(sequence);
  if (begin < 0 || count < 0 || begin + count > source.length) throw Error("INTERNAL", "KV cache: read beyond length");
  if (by_channel()) throw Error("INTERNAL", "KV cache: keys by channel are no cells");
  if (source.horizon > 0) throw Error("INTERNAL", "KV cache: cells of the sequence are gone");
  read_offloaded(sequence, begin, count, out);
  for_rows(
      sequence, begin, count,
      [&](std::byte* row, int64_t bytes) {
        const PageStrip strip{out, row, bytes};
        out += bytes;
        return strip;
      },
      [&](const std::vector<PageStrip>& strips) { store_->read(strips); });
}

void PagedKv::write_cells(int sequence, int begin, int count, const std::byte* in) {
  Sequence& target = checked(sequence);
  if (by_channel()) throw Error("INTERNAL", "KV cache: keys by channel are no cells");
  if (begin != target.length) throw Error("INTERNAL", "KV cache: restored cells must follow the last one");
  reserve(sequence, count);
  restore_labels(sequence, begin, count, in);
  write_offloaded(sequence, begin, count, in);
  for_rows(
      sequence, begin, count,
      [&](std::byte* row, int64_t bytes) {
        const PageStrip strip{row, in, bytes};
        in += bytes;
        return strip;
      },
      [&](const std::vector<PageStrip>& strips) { store_->write(strips); });
  commit(sequence, count);
}

int32_t PagedKv::take_page(size_t group, int64_t wanted) {
  const int64_t bytes = groups_[group].page_bytes;
  std::vector<int32_t>& free = shelf(group);
  if (offloaded_) offloaded_->wake();
  while (true) {
    if (free.empty()) {
      if (static_cast<int64_t>(pages_.size()) < most_pages_) {
        free.push_back(static_cast<int32_t>(pages_.size()));
        pages_.push_back({});
      } else if (!idle_.empty()) {
        evict(idle_.front());
      } else {
        throw Error("OUT_OF_MEMORY", "KV cache: no page left");
      }
    }
    const int32_t id = free.back();
    Page& page = pages_[static_cast<size_t>(id)];
    if (page.data != nullptr) {
      spare_bytes_ -= bytes;
    } else {
      try {
        page.data = store_->map(bytes, wanted);
      } catch (const Error& error) {
        if (error.code() != "OUT_OF_MEMORY" || idle_.empty()) throw;
      }
      if (page.data == nullptr && !idle_.empty()) {
        evict(idle_.front());  // its memory is the next one's
        continue;
      }
      if (page.data == nullptr)
        throw Error("OUT_OF_MEMORY", "KV cache: there are no " + std::to_string(bytes) + " bytes left for a page",
                    "Use a shorter context, q8_0 keys and values, or fewer sessions.");
    }
    free.pop_back();
    if (options_.poison && store_->place() == nullptr) std::memset(page.data, 0xff, static_cast<size_t>(bytes));
    page.references = 1;
    page.group = static_cast<int32_t>(group);
    ++used_;
    used_bytes_ += bytes;
    peak_bytes_ = std::max(peak_bytes_, used_bytes_);
    return id;
  }
}

void PagedKv::drop_page(int32_t id) {
  Page& page = pages_[static_cast<size_t>(id)];
  if (--page.references > 0) return;
  --used_;
  used_bytes_ -= groups_[static_cast<size_t>(page.group)].page_bytes;
  if (page.published) {
    page.place = idle_.insert(idle_.end(), id);
    if (pages_idle() > most_idle_) evict(idle_.front());
  } else {
    free_page(id);
  }
  rest_offloaded();
}

void PagedKv::free_page(int32_t id) {
  Page& page = pages_[static_cast<size_t>(id)];
  const auto group = static_cast<size_t>(page.group);
  std::vector<int32_t>& free = shelf(group);
  if (offloaded_) offloaded_->forget(id);
  if (options_.poison && store_->place() == nullptr)
    std::memset(page.data, 0xff, static_cast<size_t>(groups_[group].page_bytes));
  if (spare_bytes_ >= most_spare_bytes) {
    store_->unmap(page.data, groups_[group].page_bytes);
    page.data = nullptr;
    free.insert(free.begin(), id);  // pages that still have memory are taken first
  } else {
    spare_bytes_ += groups_[group].page_bytes;
    free.push_back(id);
  }
}

}  // namespace vivace
