// What runs a program, whatever the device: the addon knows no more of the CPU's executable and of a graphics card's.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "decode/draws.h"
#include "experts/routing_trace.h"
#include "program/profile.h"
#include "program/program.h"

namespace vivace {

class ExpertStore;

// Memory of a run's inputs (by value id) and, where the caller wants them outside the arena, outputs.
struct RunBinding {
  int value;
  std::byte* data;
};

// Bytes, and words for where the program runs.
struct RunnerSizes {
  int64_t weights = 0;            // beyond what the description's mappings hold: copies in the order that kernels read
  int64_t released = 0;           // of files, not read any more
  int64_t arena = 0, values = 0;  // all that runs work in; of it what values of rounds have
  int64_t round = 0;  // on a card: values of a round of 512 rows and 64 outputs, whether or not there was one
  std::string level;  // instruction-set level, or the card
  int threads = 1;
  int64_t sent = 0, received = 0;  // copied to the card and from it so far
  double waited = 0;               // seconds from starts on the card to ends there, so far
  int64_t queued = 0;              // runs that were given to it before the run before them was over
};

// Gives the run that follows from the one in progress: a row for each of its draws, in their order; null: none follows.
// Which tokens these rows have is not known yet, and the run must not be asked for more than inputs and draws.
using NextRun = std::function<const Batch*()>;

class Runner {
 public:
  virtual ~Runner() = default;
  virtual const Program& program() const = 0;
  // The device whose KV caches it takes (PageStore::place); null: the host's.
  virtual const void* place() const { return nullptr; }

  // Brings the next `bytes` of weights to where, and in the order in which, kernels read them fastest; gives the share
  // done, of 1. Not during a run.
  virtual double pack(int64_t bytes) = 0;
  // Runs every call and draws, unless `draws` is null. `meanwhile`, unless empty, is called by one member of the team
  // when the others have work for a while, or when the run must wait; perhaps twice. The batch is copied; what it
  // points to must stay until the end.
  virtual void run(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch,
                   PagedKv* kv, Draws* draws, const std::function<void()>& meanwhile = {}) = 0;
  // As run(). A device asks for the next run, if it can, as soon as this one is on its way, and begins it with the
  // tokens that it draws itself, while the host still waits for them. That run must be the next call, or drop() ends
  // it: what it wrote into cells of the cache is beyond every length, and its draws were never made.
  virtual void run_on(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch,
                      PagedKv* kv, Draws* draws, const std::function<void()>& meanwhile, const NextRun&) {
    run(rows, outputs, bindings, batch, kv, draws, meanwhile);
  }
  virtual void drop() {}

  // What its runs record of experts, if they can; to be read between runs.
  virtual std::shared_ptr<RoutingTrace> routing() const { return nullptr; }
  // What brings its experts into memory, if anything does.
  virtual std::shared_ptr<ExpertStore> experts() const { return nullptr; }

  // Layers that all rows of a prompt can pass one after the other; 0: a run is the whole program. And the bytes that a
  // row takes from one to the next.
  virtual int parts() const { return 0; }
  virtual int64_t carried_bytes() const { return 0; }
  // As run(), of one of these parts and of some rows of a prompt, all that vote among them if it is compressed: what
  // they carry comes from and goes to `carried`, where the first one's lies. Rows are run some hundred at a time.
  virtual void run_part(int, std::byte* /*carried*/, int64_t, int64_t, const std::vector<RunBinding>&, const Batch&,
                        PagedKv&, Draws*) {
    throw Error("INTERNAL", "run: the program does not run layer by layer here");
  }

  virtual RunnerSizes sizes() const = 0;
  virtual void set_profiling(bool on) = 0;
  virtual std::vector<CallProfile> profile() const = 0;
};

}  // namespace vivace
