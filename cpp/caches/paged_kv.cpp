// Page bookkeeping runs on the JavaScript thread; kernels of a run in flight read pages of other sequences meanwhile.
// That is safe because the tables never move (reserved once) and a page is only freed when no sequence holds it.
#include "caches/paged_kv.h"

#include "core/error.h"

namespace vivace {
namespace {

constexpr size_t max_sequences = 65536;
constexpr int64_t spare_bytes = int64_t{4}
                                << 20;  // of freed pages kept for reuse; others go back to the system at once

}  // namespace

PagedKv::PagedKv(const PagedKvOptions& options, std::unique_ptr<PageStore> store)
    : options_(options), store_(std::move(store)), prefixes_(options.page_size, options.hash_bits) {
  const auto fits = [](DType dtype, int dim) {
    return dtype == DType::F32 || dtype == DType::F16 || (dtype == DType::Q8_0 && dim % 32 == 0);
  };
  if (options.layers < 1 || options.kv_heads < 1 || options.key_dim < 1 || options.value_dim < 1 ||
      options.page_size < 1 || options.page_size > 4096 || options.max_pages < 1 || options.hash_bits < 1)
    throw Error("INVALID_ARGUMENT", "KV cache: every dimension must be at least 1, and a page at most 4096 tokens");
  if (!fits(options.key_dtype, options.key_dim) || !fits(options.value_dtype, options.value_dim))
    throw Error("UNSUPPORTED_FEATURE", "KV cache: types are F32, F16, or Q8_0 for head sizes that are a multiple of 32",
                "Use f16 for keys and values.");
  key_row_bytes_ = row_bytes(options.key_dtype, options.key_dim);
  value_row_bytes_ = row_bytes(options.value_dtype, options.value_dim);
  key_head_bytes_ = key_row_bytes_ * options.page_size;
  value_head_bytes_ = value_row_bytes_ * options.page_size;
  value_offset_ = key_head_bytes_ * options.kv_heads;
  layer_bytes_ = value_offset_ + value_head_bytes_ * options.kv_heads;
  page_bytes_ = layer_bytes_ * options.layers;
  sequences_.reserve(max_sequences);
  pages_.reserve(static_cast<size_t>(options.max_pages));
}

PagedKv::~PagedKv() {
  for (const Page& page : pages_)
    if (page.data != nullptr) store_->unmap(page.data, page_bytes_);
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
  return checked(sequence).length;
}

int PagedKv::create() {
  size_t id = 0;
  while (id < sequences_.size() && sequences_[id].alive) ++id;
  if (id == max_sequences) throw Error("OUT_OF_MEMORY", "KV cache: 65536 sequences are alive", "Dispose of sessions.");
  if (id == sequences_.size()) {
    sequences_.emplace_back();
    sequences_.back().pages.reserve(static_cast<size_t>(options_.max_pages));
  }
  sequences_[id].alive = true;
  sequences_[id].length = 0;
  sequences_[id].withheld = nothing_withheld;
  return static_cast<int>(id);
}

int PagedKv::fork(int sequence) {
  checked(sequence);
  const int id = create();
  const Sequence& from = sequences_[static_cast<size_t>(sequence)];
  Sequence& to = sequences_[static_cast<size_t>(id)];
  // Only pages with committed cells: a run in flight may have reserved more.
  const int used = (from.length + options_.page_size - 1) / options_.page_size;
  for (int i = 0; i < used; ++i) {
    hold_page(from.pages[i]);
    to.pages.push_back(from.pages[i]);
  }
  to.length = from.length;
  to.withheld = from.withheld;
  return id;
}

void PagedKv::release(int sequence) {
  Sequence& gone = checked(sequence);
  // The last pages of a text are the first to go: fewer others begin with them.
  while (!gone.pages.empty()) {
    drop_page(gone.pages.back());
    gone.pages.pop_back();
  }
  gone.alive = false;
  gone.length = 0;
}

void PagedKv::truncate(int sequence, int length) {
  Sequence& short_one = checked(sequence);
  if (length < 0 || length > short_one.length) throw Error("INTERNAL", "KV cache: truncate beyond the length");
  const size_t kept = static_cast<size_t>((length + options_.page_size - 1) / options_.page_size);
  while (short_one.pages.size() > kept) {
    drop_page(short_one.pages.back());
    short_one.pages.pop_back();
  }
  short_one.length = length;
  if (length <= short_one.withheld) short_one.withheld = nothing_withheld;
}

void PagedKv::reserve(int sequence, int count) {
  Sequence& grown = checked(sequence);
  const int size = options_.page_size;
  const int64_t wanted = (int64_t{grown.length} + count + size - 1) / size;
  const size_t first_written = static_cast<size_t>(grown.length / size);
  const int32_t written = first_written < grown.pages.size() ? grown.pages[first_written] : PrefixTree::none;
  const bool shared = written >= 0 && pages_[written].references > 1;
  const int64_t missing = wanted - static_cast<int64_t>(grown.pages.size());
  if (used_ + (missing > 0 ? missing : 0) + (shared ? 1 : 0) > options_.max_pages)
    throw Error("OUT_OF_MEMORY",
                "KV cache: all " + std::to_string(options_.max_pages) + " pages of " + std::to_string(page_bytes_) +
                    " bytes are in use",
                "Dispose of sessions, or allow more cache when the model is loaded.");
  if (shared) copy_page(grown, first_written);
  if (!shared && written >= 0 && pages_[written].published) {
    // A published page is copied, too, but not where the sequence would be without memory for that.
    if (used_ + (missing > 0 ? missing : 0) + 1 > options_.max_pages) {
      evict(written);
    } else {
      try {
        copy_page(grown, first_written);
      } catch (const Error&) {
        evict(written);
      }
    }
  }
  const size_t before = grown.pages.size();
  try {
    for (int64_t i = 0; i < missing; ++i) grown.pages.push_back(take_page(missing - i));
  } catch (...) {
    while (grown.pages.size() > before) {
      drop_page(grown.pages.back());
      grown.pages.pop_back();
    }
    throw;
  }
}

void PagedKv::copy_page(Sequence& grown, size_t page) {
  const int32_t before = grown.pages[page];
  const int32_t copy = take_page(1);
  // Only committed cells: another owner may be writing beyond them right now.
  std::vector<PageStrip> strips;
  add_strips(strips, pages_[before].data, 0, pages_[copy].data, 0, grown.length % options_.page_size);
  store_->copy(strips);
  grown.pages[page] = copy;
  drop_page(before);
}

void PagedKv::reserve_ahead(int sequence, int count) {
  const Sequence& grown = checked(sequence);
  const int64_t missing =
      (int64_t{grown.length} + count) / options_.page_size + 1 - reserved(sequence) / options_.page_size;
  if (2 * (used_ + missing) > options_.max_pages) return;
  try {
    reserve(sequence, count);
  } catch (const Error&) {
    // No memory: then nothing is done ahead.
  }
}

int64_t PagedKv::reserved(int sequence) const {
  return static_cast<int64_t>(checked(sequence).pages.size()) * options_.page_size;
}

void PagedKv::commit(int sequence, int count) {
  Sequence& longer = checked(sequence);
  if (count < 0 || longer.length + int64_t{count} > reserved(sequence))
    throw Error("INTERNAL", "KV cache: committed cells must be reserved ones");
  longer.length += count;
}

void PagedKv::keep(int sequence, const int32_t* offsets, int kept) {
  Sequence& pruned = checked(sequence);
  const int64_t reserved = static_cast<int64_t>(pruned.pages.size()) * options_.page_size;
  const int size = options_.page_size;
  std::vector<PageStrip> strips;
  for (int i = 0; i < kept; ++i) {
    if (offsets[i] < i || (i > 0 && offsets[i] <= offsets[i - 1]) || pruned.length + int64_t{offsets[i]} >= reserved)
      throw Error("INTERNAL", "KV cache: kept cells must ascend within the reserved ones");
    if (offsets[i] == i) continue;
    // One after the other: a cell that is read here may be written in the next step.
    const int from = pruned.length + offsets[i], to = pruned.length + i;
    strips.clear();
    add_strips(strips, pages_[pruned.pages[from / size]].data, from % size, pages_[pruned.pages[to / size]].data,
               to % size, 1);
    store_->copy(strips);
  }
  pruned.length += kept;
  truncate(sequence, pruned.length);  // drops whole pages that only held refused cells
}

void PagedKv::add_strips(std::vector<PageStrip>& strips, const std::byte* source, int from, std::byte* target, int to,
                         int64_t cells) const {
  for (int layer = 0; layer < options_.layers; ++layer)
    for (int head = 0; head < options_.kv_heads; ++head) {
      const int64_t key = layer * layer_bytes_ + head * key_head_bytes_;
      const int64_t value = layer * layer_bytes_ + value_offset_ + head * value_head_bytes_;
      strips.push_back(
          {target + key + to * key_row_bytes_, source + key + from * key_row_bytes_, cells * key_row_bytes_});
      strips.push_back(
          {target + value + to * value_row_bytes_, source + value + from * value_row_bytes_, cells * value_row_bytes_});
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
  if (begin != target.length) throw Error("INTERNAL", "KV cache: restored cells must follow the last one");
  reserve(sequence, count);
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

int32_t PagedKv::take_page(int64_t wanted) {
  while (true) {
    if (free_.empty()) {
      if (static_cast<int64_t>(pages_.size()) < options_.max_pages) {
        free_.push_back(static_cast<int32_t>(pages_.size()));
        pages_.push_back({});
      } else if (!idle_.empty()) {
        evict(idle_.front());
      } else {
        throw Error("OUT_OF_MEMORY", "KV cache: no page left");
      }
    }
    const int32_t id = free_.back();
    Page& page = pages_[id];
    if (page.data != nullptr) {
      --spares_;
    } else {
      try {
        page.data = store_->map(page_bytes_, wanted);
      } catch (const Error& error) {
        if (error.code() != "OUT_OF_MEMORY" || idle_.empty()) throw;
      }
      if (page.data == nullptr && !idle_.empty()) {
        evict(idle_.front());  // its memory is the next one's
        continue;
      }
      if (page.data == nullptr)
        throw Error("OUT_OF_MEMORY", "KV cache: there are no " + std::to_string(page_bytes_) + " bytes left for a page",
                    "Use a shorter context, q8_0 keys and values, or fewer sessions.");
    }
    free_.pop_back();
    page.references = 1;
    ++used_;
    return id;
  }
}

void PagedKv::drop_page(int32_t id) {
  Page& page = pages_[id];
  if (--page.references > 0) return;
  --used_;
  if (!page.published) return free_page(id);
  page.place = idle_.insert(idle_.end(), id);
  if (pages_idle() > most_idle_) evict(idle_.front());
}

void PagedKv::free_page(int32_t id) {
  Page& page = pages_[id];
  if (spares_ * page_bytes_ >= spare_bytes) {
    store_->unmap(page.data, page_bytes_);
    page.data = nullptr;
    free_.insert(free_.begin(), id);  // pages that still have memory are taken first
  } else {
    ++spares_;
    free_.push_back(id);
  }
}

}  // namespace vivace
