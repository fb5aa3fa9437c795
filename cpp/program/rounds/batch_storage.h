// Builds the rows of a run from what the caller asks for, and owns their arrays. Reused from run to run.
#pragma once
#include <cstdint>
#include <vector>

#include "decode/draft/drafter.h"
#include "decode/verify/verify.h"
#include "program/batch_rows.h"

namespace vivace {

class PagedKv;

struct BatchRequest {
  int64_t rows = 0;
  const int32_t* tokens = nullptr;
  const int32_t* positions = nullptr;
  const int32_t* sequences = nullptr;
  const int32_t* parents = nullptr;  // null: chains
  const int32_t* output_rows = nullptr;
  int64_t outputs = 0;
  // Pairs: a sequence whose prompt ends with its rows here and is compressed, and how many of these rows vote.
  const int32_t* compress = nullptr;
  int64_t compressed = 0;
  // Not null: these are rows of one prompt in one layer (PagedKv::begin_layer): the layer, how many of the prompt's
  // rows come before, how many there are, how many vote; `carried`: bytes that each takes to the next layer.
  const int32_t* part = nullptr;
  int64_t carried = 0;
};

// Of a sequence's rows those of a probe, its last ones, and how many of its outputs are theirs.
struct ProbeRows {
  int64_t rows = 0, outputs = 0;
};

// What a sequence puts behind its last batch.
struct NextRows {
  int64_t kept = 1;              // of its outputs
  std::vector<int32_t> tokens;   // -1: not known yet
  std::vector<int32_t> parents;  // places in this list, before each, -1 for the first; empty: a chain
  const Probe* probe = nullptr;  // rows behind them that never stay
};

class BatchStorage {
 public:
  // Copies the request, reserves cells in the cache for every row and gives each row its cell and what it sees.
  // Throws INVALID_ARGUMENT or OUT_OF_MEMORY; on a throw no sequence has changed its length.
  // `ahead`: cells that each sequence may need beyond those, for follow() and extend(); `drafted`: rows of a sequence
  // in a batch that follows, at most. `begun`: rows that extend() may add. `probes`: by sequence, in the order of their
  // outputs; empty: none.
  void build(const BatchRequest& request, PagedKv* kv, int ahead = 0, int drafted = 1, int begun = 0,
             const std::vector<ProbeRows>& probes = {});
  // Puts a draft behind the last row of a batch of one sequence, whose only output that is; there is room() for it.
  // `parents`: places among `tokens`, -1 for that row. Draft and root are outputs then.
  void extend(const std::vector<int32_t>& tokens, const std::vector<int32_t>& parents);
  // The rows of a walk over `rows` outputs from `output` on: they must follow each other in the batch, as rows of one
  // sequence that are its last ones, the first of them an ancestor of the others; behind them there may only be rows of
  // a second reading, which are never kept. Throws INTERNAL.
  void describe(Walk& walk, int64_t rows) const;
  // After a successful run: chain rows count as committed, but of a walk's rows only those that it keeps. Other rows of
  // a run over trees wait for PagedKv::keep.
  void commit(PagedKv* kv, const std::vector<Walk>& walks = {}) const;
  // Of a prompt that passes layer by layer: the layer, or -1; and what the batch's rows carry.
  int layer() const { return part_.layer; }
  std::byte* carried() const { return part_.carried; }
  // Whether follow() can be used: of every sequence the last rows but those of a probe are outputs, one after the
  // other.
  bool can_follow() const;
  // Cells that have memory behind an output that is the last row of its sequence; -1 for others and where trees are.
  int64_t cells_behind(int64_t output) const;
  // Rows that a sequence may have in the next batch, after so many of its outputs' rows stay; sequences are counted in
  // the order of their outputs.
  int64_t room(size_t sequence, int64_t kept) const;
  // Of a sequence's outputs these rows stay, counted from its first one, ascending: their cells are put side by side.
  // For runs that go on; lengths change by PagedKv::commit.
  void keep(PagedKv* kv, size_t sequence, const std::vector<int32_t>& kept) const;
  // The batch's rows that stay of a sequence of whose outputs these do, in order.
  std::vector<int32_t> staying(size_t sequence, const std::vector<int32_t>& kept) const;
  // The next batch: of each sequence's outputs `kept` rows stay, which keep() has put first, and `tokens` come behind
  // them; all of them are outputs, and of a probe's rows the last ones. The cache hears nothing of it.
  void follow(const std::vector<NextRows>& next);
  const Batch& batch() const { return batch_; }

 private:
  struct Group {
    int sequence;
    int first_cell;
    int shift;  // position − cell
    std::vector<int32_t> rows;
    int64_t reserved = 0;
  };
  // A sequence's outputs.
  struct Seat {
    int32_t sequence, cell;     // of the first one
    int32_t shift;              // position − cell
    int64_t end;                // cells with memory
    std::vector<int32_t> rows;  // all of the sequence's but a probe's, and how many come before the outputs
    size_t before;
  };
  struct Part {
    int layer = -1;
    bool ends = false;  // with the prompt's last row
    std::byte* carried = nullptr;
  };
  void begin_part(const BatchRequest& request, PagedKv* kv);
  void find_seats(const std::vector<ProbeRows>& probes = {});
  void make_room(int64_t rows);
  void find_angles();
  void build_masks(const BatchRequest& request);
  void begin_compression(const BatchRequest& request, PagedKv* kv, int ahead);
  Batch batch_;
  BatchRows rows_;
  std::vector<int32_t> ordinals_, parents_, compressed_;
  std::vector<float> sink_angles_;
  const PagedKv* policy_ = nullptr;  // that wants them
  std::vector<Group> groups_;
  std::vector<Seat> seats_;  // empty: nothing can follow
  bool tree_ = false;
  Part part_;
};

}  // namespace vivace
