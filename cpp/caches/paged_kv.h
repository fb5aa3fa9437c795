// The paged KV cache: ref-counted pages of `page_size` tokens, shared by forks, copied on the first write.
// Full pages may be published: they stay, idle, when no sequence has them any more, and another sequence whose text
// begins the same takes them over (prefix_pages.cpp). One page holds its tokens for all layers: [layers][ K:
// [kv_heads][page_size][key row] | V: [kv_heads][page_size][value row] ]. Under a policy that keeps different cells of
// different layers or heads, each group of those that keep the same has pages of its own (page_groups.h); pages whose
// cells no later row sees go when a run begins, never during one.
//
// Keys by channel (KIVI4): the keys of a page are quantised together when the page is full, [key_dim][20 bytes], and a
// row sees them so unless the page is its own. F16 keys lie in pages of a second group, which go as if they had been in
// a window's reach: with those of a page gone, a sequence can be cut to its beginning only.
#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "caches/cache_policy.h"
#include "caches/compaction.h"
#include "caches/page_groups.h"
#include "caches/page_store.h"
#include "caches/prefix_tree.h"
#include "core/dtype.h"
#include "core/memory/arena.h"
#include "offload/offload_options.h"

namespace vivace {

class OffloadedLayers;

struct PagedKvOptions {
  int layers = 0;
  int kv_heads = 0;
  int key_dim = 0;
  int value_dim = 0;
  int page_size = 32;
  DType key_dtype = DType::F16;    // F32, F16, or Q8_0 and Q4_0 (dims a multiple of 32);
                                   // on the host also KIVI4, on pages of 32 cells and without a policy
  DType value_dtype = DType::F16;  // the same choice
  int64_t max_pages = 0;  // pages that may exist at once; under a policy, so many times the bytes of one of all
  int hash_bits = 64;     // of published pages; fewer only to test collisions
  CachePolicy policy;
  OffloadOptions offload;  // of layers whose rows choose by labels: on the host
  bool poison = false;     // pages are NaN before they are written and when they are given back: for tests, on the host

  bool operator==(const PagedKvOptions&) const = default;
};

class PagedKv {
 public:
  explicit PagedKv(const PagedKvOptions& options, std::unique_ptr<PageStore> store = host_pages());
  ~PagedKv();
  PagedKv(const PagedKv&) = delete;
  PagedKv& operator=(const PagedKv&) = delete;

  const PagedKvOptions& options() const { return options_; }
  const void* place() const { return store_->place(); }
  int64_t page_bytes() const { return page_bytes_; }
  int64_t pages_used() const { return used_; }        // that a sequence holds
  int64_t used_bytes() const;                         // of these, and what offloaded layers have of memory
  int64_t peak_bytes() const { return peak_bytes_; }  // the most that pages ever had
  int64_t pages_idle() const { return static_cast<int64_t>(idle_.size()); }  // published ones that none holds
  int64_t pages_published() const { return prefixes_.size(); }
  int64_t evictions() const { return evictions_; }  // pages that were published and are no more, but for `forget`

  int create();            // a new, empty sequence; returns its id
  int fork(int sequence);  // a second owner of all pages
  void release(int sequence);
  // Forgets the tokens from `length` on; all of them where pages are gone that a row at `length` would see, or where
  // that is in a compressed prompt.
  void truncate(int sequence, int length);
  int length(int sequence) const;  // committed tokens
  int cells(int sequence) const;   // committed cells: as many, but for those that were compressed away
  // What lies between the position of a token and its cell, for tokens behind a compressed prompt.
  int shift(int sequence) const;
  bool alive(int sequence) const;

  // Makes cells [cells, cells + count) writable: new pages, and a private copy of a shared last page. Pages that no row
  // from a page before them on sees go. Throws OUT_OF_MEMORY, changing nothing, when max_pages or the machine's memory
  // would be exceeded.
  void reserve(int sequence, int count);
  // As reserve, for cells that may never be wanted: halves their count until half of max_pages stays free.
  void reserve_ahead(int sequence, int count);
  int64_t reserved(int sequence) const;  // cells that have memory, committed or not
  // The reserved cells now count.
  void commit(int sequence, int count);
  // After a tree run: of the cells behind the committed ones, keep those at the given ascending offsets, in this order.
  void keep(int sequence, const int32_t* offsets, int kept);

  // The same within reserved cells from `first` on, at or behind the committed ones: cells are moved, lengths stay. For
  // a run in flight, to which these cells belong.
  void move(int sequence, int first, const int32_t* offsets, int count);

  // Compression of prompts (CachePolicy::snap). Rows that must vote when a prompt's last row is the `rows`th from now
  // on; 0: nothing needs be compressed.
  int voters(int sequence, int rows) const;
  // A run adds the last `added` rows of a prompt, of which `voters` vote; the numbers of these rows in the run are
  // filled in by the caller. Forgets what was begun before. Throws OUT_OF_MEMORY, changing nothing.
  Compaction& begin_compaction(int sequence, int added, int voters);
  Compaction* compaction(int sequence) const { return sequences_[sequence].compaction.get(); }
  // The same, layer by layer (by_layer()): all `added` rows of a prompt pass one layer before the next. Pages for all
  // of the layer's cells, the ones that pass_layer() has given back first, and for what stays of them; runs over them
  // add no length. From `first` = 0 in layer 0 on a new prompt. `carried`: bytes that a row takes to the next layer.
  // Throws OUT_OF_MEMORY; can be called again then.
  Compaction& begin_layer(int sequence, int layer, int first, int added, int voters, int64_t carried);
  void pass_layer(int sequence);  // the layer has been compressed: pages of this prompt go
  bool by_layer() const { return by_layer_; }
  // The run's rows are committed, or the last layer is passed: what was chosen takes the place of all cells.
  void compact(int sequence);

  // Published pages. The cells of the sequence must be those of the first of these tokens.
  // Takes over pages of the longest beginning of the tokens that is published under the salt, where that is more than
  // the sequence has; returns its length.
  int share(int sequence, const int32_t* tokens, int count, const std::string& salt);
  // Publishes the full pages of committed cells, as far as their values are this cache's own.
  void publish(int sequence, const int32_t* tokens, int count, const std::string& salt);
  // Cells from `from` on, and what follows from them, are not published until they are forgotten.
  void withhold(int sequence, int from);
  void keep_idle(int64_t pages);  // at most so many; 0 at first
  int64_t drop_idle();            // all of them; returns how many
  void forget();                  // nothing is published any more

  // The page of a group that has these cells. Valid for reserved cells that are kept, like all addresses in them.
  std::byte* page_base(int sequence, int page, int group = 0) const {
    const Table& table = sequences_[sequence].tables[group];
    return pages_[table.entries[place_in(groups_[group], page)]].data;
  }
  // The same, or null where a page is gone.
  std::byte* page_or_null(int sequence, int page, int group) const {
    const int32_t entry = sequences_[sequence].tables[group].entries[place_in(groups_[group], page)];
    return entry < 0 ? nullptr : pages_[entry].data;
  }
  const std::vector<PageGroup>& groups() const { return groups_; }
  int group_of(int layer, int head) const { return places_[layer * options_.kv_heads + head].group; }
  // Pages of a bounded group that are gone, behind its sinks'.
  int64_t pages_gone(int sequence, int group) const {
    const PageGroup& kind = groups_[group];
    const int64_t gone = sequences_[sequence].tables[group].gone - kind.sink_pages();
    return kind.bounded() && gone > 0 ? gone : 0;
  }
  // [page_size, row] of one head in one page of a sequence.
  std::byte* keys(int sequence, int page, int layer, int head) const {
    const Place& place = places_[layer * options_.kv_heads + head];
    return base_at(sequence, page, place) + place.key;
  }
  std::byte* values(int sequence, int page, int layer, int head) const {
    const Place& place = places_[layer * options_.kv_heads + head];
    return base_at(sequence, page, place) + place.value;
  }
  // Layers whose keys and values may be in a file only (offload/offloaded_layers.h); null: there are none. Of these,
  // keys() and values() are valid while the layer is open, for the pages that it was opened with.
  OffloadedLayers* offloaded() const { return offloaded_.get(); }
  int offloaded_layer(int layer) const { return places_[layer * options_.kv_heads].offloaded; }  // -1: it is in memory
  int32_t page_number(int sequence, int page) const { return sequences_[sequence].tables[0].entries[page]; }
  // A page's part in an offloaded layer, or null where it is in the file.
  const std::byte* part_or_null(int32_t page, int offloaded) const {
    return parts_[int64_t{page} * offloaded_layers_ + offloaded];
  }
  bool by_channel() const { return options_.key_dtype == DType::KIVI4; }
  // F16 keys [page_size, key_dim] of one head in a page that is still there, where keys are quantised by channel.
  std::byte* exact_keys(int sequence, int page, int layer, int head) const {
    return page_base(sequence, page, 1) + (layer * options_.kv_heads + head) * exact_head_bytes_;
  }
  // A page by its number, and where a head's keys and values lie in it.
  std::byte* base_of(int32_t page) const { return pages_[page].data; }
  int64_t keys_at(int layer, int head) const { return places_[layer * options_.kv_heads + head].key; }
  int64_t values_at(int layer, int head) const { return places_[layer * options_.kv_heads + head].value; }
  // What rows see of the layer; a layer without a pattern is full.
  const LayerPattern* pattern(int layer) const {
    return options_.policy.layers.empty() ? nullptr : &options_.policy.layers[layer];
  }
  const SinkAngles& sink_angles() const { return angles_; }
  // Labels of one set for the cells of a page (LabelLayout), in a layer that has them.
  std::byte* labels(int sequence, int page, int layer, int set) const {
    return page_base(sequence, page) + label_offsets_[static_cast<size_t>(layer)] + set * label_bytes_;
  }
  const LabelLayout& label_layout() const { return label_layout_; }
  const std::vector<int64_t>& label_offsets() const { return label_offsets_; }  // by layer; -1: it has none
  int64_t label_bytes() const { return label_bytes_; }                          // of one set in a page
  // Memory that kernels of a run use; one runs at a time. It grows by megabytes. Throws OUT_OF_MEMORY.
  void reserve_scratch(int64_t bytes);
  std::byte* scratch() const { return scratch_.data(); }
  // Makes the labels of a cell from its keys, where the layer has them.
  void label(int sequence, int cell, int layer, int head) const;
  int64_t key_row_bytes() const { return key_row_bytes_; }
  int64_t value_row_bytes() const { return value_row_bytes_; }
  int64_t value_offset() const { return value_offset_; }
  int64_t layer_bytes() const { return layer_bytes_; }

  // Save and restore: cells [begin, begin + count) as [cells][layers][K heads, V heads], in a caller's buffer.
  int64_t cell_bytes() const;
  void read_cells(int sequence, int begin, int count, std::byte* out) const;
  void write_cells(int sequence, int begin, int count, const std::byte* in);

  // Save and restore under policies (saved_pages.cpp), on the host: what a sequence is besides its pages, and the pages
  // that a later row may see, one by one, as they lie in memory.
  struct Saved {
    int cells = 0, shift = 0, fixed = 0;
    int64_t horizon = 0;
  };
  struct SavedPage {
    int group;
    int64_t page;
  };
  Saved saved(int sequence) const;
  std::vector<SavedPage> saved_pages(int sequence) const;
  int64_t group_bytes(int group) const;  // of a saved page
  // Cells that are not committed are zeros in `out`.
  void read_page(int sequence, SavedPage page, std::byte* out) const;
  // A new sequence whose pages are still to be written. Throws INVALID_ARGUMENT for what can be no sequence of this
  // cache.
  int restore(const Saved& saved);
  void write_page(int sequence, SavedPage page, const std::byte* in);

 private:
  struct Page {
    std::byte* data = nullptr;
    int32_t group = 0;
    int references = 0;  // of sequences
    bool published = false;
    std::list<int32_t>::iterator place{};  // in idle_, if it is there
  };
  // Of a group's pages; `gone`: those before this one are there only if they are kept.
  struct Table {
    std::vector<int32_t> entries;
    int64_t gone = 0;
  };
  struct Place {
    int group;
    int64_t key, value;
    int offloaded = -1;  // number among the offloaded layers; offsets are in a part then
  };
  struct Sequence {
    std::vector<Table> tables;  // one per group
    int64_t pages = 0;          // reserved
    int64_t horizon = 0;        // rows from here on find all that they see
    int length = 0;             // cells
    int shift = 0;              // tokens − cells
    int fixed = 0;              // tokens of compressed prompts: none of them can be forgotten alone
    bool alive = false;
    int withheld = nothing_withheld;  // its first cell that must not be published
    std::unique_ptr<Compaction> compaction;
  };
  std::byte* base_at(int sequence, int page, const Place& place) const {
    if (place.offloaded < 0) return page_base(sequence, page, place.group);
    return parts_[int64_t{page_number(sequence, page)} * offloaded_layers_ + place.offloaded];
  }
  static constexpr int nothing_withheld = std::numeric_limits<int>::max();
  Sequence& checked(int sequence);
  const Sequence& checked(int sequence) const;
  // Tables of bounded groups begin again at the end of what they may be.
  size_t place_in(const PageGroup& group, int64_t page) const {
    if (page < table_pages_ || !group.bounded()) return static_cast<size_t>(page);
    const int64_t first = group.sink_pages();
    return static_cast<size_t>(first + (page - first) % (table_pages_ - first));
  }
  int32_t& entry(Sequence& sequence, size_t group, int64_t page) {
    return sequence.tables[group].entries[place_in(groups_[group], page)];
  }
  // Calls body(group, page) for all pages from `begin` to `end` that the sequence has.
  template <class Body>
  void for_pages(Sequence& sequence, int64_t begin, int64_t end, Body&& body);
  void check_policy() const;
  void retire(Sequence& sequence);
  void cut(Sequence& shorter, int cells);
  Compaction& make_compaction(Sequence& owner, int added, int voters);
  void take_layer_pages(Sequence& owner, int layer);
  void end_compaction(Sequence& sequence);
  void drop_behind(Sequence& sequence, size_t group);
  // Where free pages of a group lie: those of layers of equal size are each other's.
  std::vector<int32_t>& shelf(size_t group) { return free_[by_layer_ ? 0 : group]; }
  void cut_pages(Sequence& sequence, int64_t pages);
  int32_t take_page(size_t group, int64_t wanted);
  void copy_page(Sequence& grown, size_t group, int64_t page);
  void hold_page(int32_t page);
  void drop_page(int32_t page);
  void free_page(int32_t page);
  void evict(int32_t page);
  std::vector<int32_t> find(const int32_t* tokens, int64_t pages, const std::string& salt) const;
  // A page is all of a text's cells, and what they are follows from the text.
  bool shares_prefixes() const { return groups_.size() == 1 && options_.policy.snap.budget == 0; }
  bool has(const Sequence& sequence, size_t group, int64_t page) const {
    return page < sequence.pages && (page >= sequence.tables[group].gone || groups_[group].keeps(page));
  }
  int64_t first_seen(const PageGroup& group, int64_t horizon) const;
  // The strips of `cells` cells from cell `from` of one page of a group on, to those from cell `to` of another one.
  void add_strips(std::vector<PageStrip>& strips, const PageGroup& group, const std::byte* source, int from,
                  std::byte* target, int to, int64_t cells) const;
  void add_label_strips(std::vector<PageStrip>& strips, const std::byte* source, int from, std::byte* target, int to,
                        int cells) const;
  // Labels of restored cells, made of what read_cells has given.
  void restore_labels(int sequence, int begin, int count, const std::byte* rows);
  template <class Strip, class Move>
  void for_rows(int sequence, int begin, int count, Strip&& strip_of, Move&& move) const;

  void set_labels();
  void add_exact_keys();
  // Offloaded layers (offloaded_pages.cpp).
  void set_offload();
  void place_offloaded();
  void copy_offloaded(int32_t from, int from_slot, int32_t to, int to_slot, int count);
  template <class Move>
  void for_offloaded_rows(int sequence, int begin, int count, Move&& move) const;
  void read_offloaded(int sequence, int begin, int count, std::byte* out) const;
  void write_offloaded(int sequence, int begin, int count, const std::byte* in);
  void rest_offloaded();

  PagedKvOptions options_;
  std::unique_ptr<PageStore> store_;
  Arena scratch_;
  LabelLayout label_layout_;
  int64_t label_bytes_ = 0;
  std::vector<int64_t> label_offsets_;  // by layer; -1: none
  int64_t key_row_bytes_, value_row_bytes_, key_head_bytes_, value_head_bytes_, value_offset_, layer_bytes_,
      page_bytes_, exact_head_bytes_ = 0;
  std::unique_ptr<OffloadedLayers> offloaded_;
  std::byte* const* parts_ = nullptr;  // [pages][offloaded layers]
  int offloaded_layers_ = 0;
  int64_t all_bytes_ = 0;  // of a page of every group
  bool by_layer_ = false;  // each layer has pages of its own, so that a prompt can pass one after the other
  std::vector<PageGroup> groups_;
  SinkAngles angles_;
  std::vector<Place> places_;  // [layers][kv_heads]
  int64_t table_pages_ = 0, most_pages_ = 0;
  std::vector<Page> pages_;
  std::vector<std::vector<int32_t>> free_;  // by group
  std::vector<Sequence> sequences_;
  PrefixTree prefixes_;
  std::list<int32_t> idle_;  // the one that goes first in front
  int64_t most_idle_ = 0, evictions_ = 0;
  int64_t used_ = 0, used_bytes_ = 0, peak_bytes_ = 0;  // pages that a sequence holds
  int64_t spare_bytes_ = 0;                             // of free pages that still have memory
};

}  // namespace vivace
