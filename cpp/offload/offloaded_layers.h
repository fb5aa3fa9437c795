// Layers whose keys and values lie in a file: of a page, in each of them, a part is in memory as long as somebody
// writes into it or reads all of it, and as long after that as there is room; rows that choose few cells get single
// rows (row_cache.h). What is in memory and not in the file goes there when its memory is wanted.
//
// Half of the memory is for parts, so that at any time one layer of all pages that sequences have can be there: a run
// opens one layer after the other. It is mapped as long as sequences have pages. All bookkeeping but a run's runs
// on the JavaScript thread, as that of the pages (paged_kv.h).
#pragma once
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "core/memory/arena.h"
#include "offload/row_cache.h"

namespace vivace {

class OffloadedLayers {
 public:
  // `poison`: for tests, all parts but those of the layer that is open are in the file.
  // Throws INVALID_ARGUMENT where the memory is too little for anything, and what files throw. `max_pages`: no more
  // pages than that are ever asked for.
  OffloadedLayers(const OffloadOptions& options, const OffloadLayout& layout, int64_t max_pages, bool poison);

  const OffloadLayout& layout() const { return file_.layout(); }
  int64_t pages() const { return pages_; }  // that there may be
  bool guesses() const { return options_.ahead; }
  // [pages][layers] parts, null where they are in the file only. Those of a layer that is open stay where they are.
  std::byte* const* parts() const { return places_.data(); }

  // A run. Layers are opened one after the other, with the pages that it reads in full or writes into.
  struct Need {
    int32_t page;
    bool written;
  };
  void begin_run();
  void open(int layer, const std::vector<Need>& needs);
  // What open() left to do: parts that must be read, by any number of threads.
  int64_t missing() const { return static_cast<int64_t>(missing_.size()); }
  void read_missing(int64_t index);
  bool failed() const;
  void check() const;  // throws what the run failed with
  RowCache& rows() { return rows_; }
  const RowCache& rows() const { return rows_; }

  // A page of the cache is no more.
  void forget(int32_t page);
  // Committed cells of a page in all layers, as [layers][heads][count] rows.
  int64_t rows_bytes(int count) const { return layout().layers * layout().heads * count * layout().row_bytes(); }
  void read_cells(int32_t page, int slot, int count, std::byte* out);
  void write_cells(int32_t page, int slot, int count, const std::byte* in);
  // Maps the memory, if it is not. Throws OUT_OF_MEMORY.
  void wake();
  // Gives the memory back; what is only there goes to the file first. Throws.
  void rest();

  int64_t bytes() const;  // mapped: all of it, or nothing
  OffloadStatistics statistics() const;

 private:
  struct Part {
    int32_t frame = -1;
    bool in_file = false, changed = false;  // changed: since it was written to the file
    uint64_t opened = 0;
    std::list<int32_t>::iterator age{};
  };
  size_t index(int32_t page, int layer) const {
    return static_cast<size_t>(page) * static_cast<size_t>(layout().layers) + static_cast<size_t>(layer);
  }
  void give_frame(int32_t part);
  void take_frame(int32_t part);
  void save(int32_t part);
  int32_t page_of(int32_t part) const { return part / layout().layers; }
  int layer_of(int32_t part) const { return part % layout().layers; }

  OffloadOptions options_;
  PageFile file_;
  int64_t frame_bytes_;
  int64_t pages_;
  bool poison_;
  RowCache rows_;
  Arena frames_;
  std::vector<Part> states_;        // [pages][layers]
  std::vector<std::byte*> places_;  // the same
  std::vector<int32_t> free_;       // frames
  std::list<int32_t> ages_;         // parts that have one, the one opened longest ago first
  std::vector<int32_t> missing_;    // parts
  uint64_t opened_ = 0;
  int64_t parts_read_ = 0, parts_written_ = 0;
  double opening_seconds_ = 0;
  std::exception_ptr error_;
  mutable std::mutex mutex_;
};

}  // namespace vivace
