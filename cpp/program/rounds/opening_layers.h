// Which pages of an offloaded layer a run needs in memory: those that it writes into, and those that some row reads in
// full. Rows that choose fetch what they choose by themselves.
#pragma once
#include <vector>

#include "offload/offloaded_layers.h"
#include "program/program.h"

namespace vivace {

struct Batch;
class PagedKv;

class OpeningLayers {
 public:
  explicit OpeningLayers(const Program& program);
  // The layer whose keys a call reads or writes, or -1.
  static int layer_of(const CallInfo& call);
  // Valid until it is called again.
  const std::vector<OffloadedLayers::Need>& needs(const Batch& batch, const PagedKv& kv, int layer);

 private:
  struct Reach {
    int sequence, first_read, last_read, first_written, last_written;  // pages
  };
  std::vector<int> windows_;  // by layer: cells that a row sees at most, or 0
  std::vector<Reach> reaches_;
  std::vector<OffloadedLayers::Need> needs_;
};

}  // namespace vivace
