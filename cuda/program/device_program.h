// A program on a card: weights in one block of device memory, values in an arena that is planned per bucket of rows,
// what differs from round to round in one small block that is copied before each, and one CUDA graph per small bucket.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "core/error.h"
#include "cuda/caches/device_caches.h"
#include "cuda/core/memory.h"
#include "cuda/core/stream.h"
#include "cuda/decode/draws.h"
#include "cuda/program/device_op.h"
#include "cuda/program/round_block.h"
#include "cuda/program/trail.h"
#include "cuda/program/weights.h"
#include "device/table.h"
#include "program/plan.h"

namespace vivace::cuda {

// Rows and outputs are rounded up: 1, 2, 4 … 64, then multiples of 64. Up to 64 a bucket has a graph.
inline constexpr int64_t graph_rows = 64;
int64_t bucket_of(int64_t count);

class DeviceProgram {
 public:
  // Throws what the ops' checks find wrong, and OUT_OF_MEMORY with figures.
  DeviceProgram(int device, const VivaceDeviceProgram& description, const DeviceProgram* base);
  ~DeviceProgram();

  double load(int64_t bytes);
  // A run until everything is given to the card, and the first unfinished one until it is over. Two are the most.
  void start(const VivaceDeviceRun& run);
  void finish(VivaceDeviceChoice* choices);
  VivaceDeviceMemory memory() const;

 private:
  struct Step {
    const DeviceOp* op;
    DeviceRun run;
    int call;
    int joined = 1;  // calls from this one on that have a launch in common
  };
  // A bucket of rows and outputs, of KV caches of one kind, and of one kind of rows.
  struct Shape {
    Plan plan;
    DeviceKv kv;
    std::vector<Pattern> patterns;  // each with a plan of its own
    RoundLayout layout;
    std::vector<Step> steps;
    Graph graph;
    int64_t uses = 0;
  };
  struct Wanted {  // an output that the caller has memory for
    int value;
    void* data;
    int64_t bytes;
  };
  // A run under way.
  struct Started {
    std::vector<Wanted> wanted;
    DrawSlot drawn;
    bool draws_here = false;
    Event begun, over;
  };
  using Key = std::tuple<int64_t, int64_t, size_t, RowsKind, bool, bool>;

  void read(const VivaceDeviceProgram& description);
  void check_memory();
  Plan plan_for(int64_t rows, int64_t outputs, int64_t& scratch) const;
  OpShapes shapes_of(const CallInfo& call, int64_t rows, int64_t outputs) const;
  void measure_states();
  std::vector<Pattern> patterns_of(const DeviceKv& kv) const;
  void reserve_states(int64_t count, int64_t floats);
  Shape& shape_for(int64_t rows, int64_t outputs, size_t cache, RowsKind kind);
  void join_calls();
  void launch(const Shape& shape) const;
  void make_steps(Shape& shape, RowsKind kind);
  Tensor tensor_of(int id, const Shape& shape) const;
  void launch_all(Shape& shape, double* seconds);
  std::vector<std::string> names_of(const Shape& shape) const;
  [[noreturn]] void pass_on(const Error& error);
  void copy_outputs(const VivaceDeviceRun& run, const Shape& shape, Started& started);
  void start_draws(const VivaceDeviceRun& run, const Shape& shape, Started& started);
  void feed(const VivaceDeviceRun& run, const RoundLayout& layout);
  void settle();

  int device_;
  DeviceProperties properties_;
  Program program_;
  std::vector<std::unique_ptr<OpInfo>> infos_;  // the CPU's rows without its scratch memory
  std::vector<const DeviceOp*> ops_;            // by call
  std::vector<int> joined_;                     // by call: how many from it on have a launch in common
  Stream stream_;
  std::shared_ptr<Weights> weights_ = std::make_shared<Weights>();
  DeviceBuffer arena_, tickets_;
  DeviceBuffer states_;
  int heads_ = 1;            // of queries, in the call that has most
  int64_t state_bytes_ = 0;  // of one state of the plan for attention, in the call that wants most
  int64_t round_bytes_ = 0;  // of values of a round of 512 rows and 64 outputs
  RoundBlock block_;
  std::vector<PinnedBuffer> outputs_;  // by value; empty: none
  Started started_[2];
  int first_ = 0, under_way_ = 0;  // the one to be finished next, and how many there are
  double busy_ = 0;
  Draws draws_;
  DeviceCaches caches_;
  PolicyRows policy_;
  std::map<Key, Shape> shapes_;
  Trail trail_;
  bool always_trail_ = false;
  std::string lost_;  // why nothing runs any more
};

}  // namespace vivace::cuda
