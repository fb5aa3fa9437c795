// Where the time of a program's runs goes, call by call, and what each call moves and computes: a kernel's limit is the
// slower of its bytes at the memory's speed and its operations at the processor's.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "program/program.h"

namespace vivace {

struct CallProfile {
  std::string op;
  std::string weight;             // the matrix that it multiplies or looks up, empty: none
  DType dtype = DType::F32;       // of the weight
  int64_t rows = 0, columns = 0;  // of the weight
  int64_t calls = 0;
  double seconds = 0, bytes = 0, operations = 0;
};

class Profile {
 public:
  Profile() = default;
  explicit Profile(const Program& program);  // must stay
  bool on = false;

  // A call of a run has ended.
  void passed(size_t call, double seconds) {
    ++times_[call].calls;
    times_[call].seconds += seconds;
  }
  void drew(double seconds) {
    ++draws_.calls;
    draws_.seconds += seconds;
  }
  // A run has ended.
  void ran(int64_t rows, int64_t outputs, const Batch* batch, const PagedKv* kv);
  // One entry per call, in the program's order, and one for drawing tokens (op `sample`).
  std::vector<CallProfile> entries() const;

 private:
  struct Time {
    int64_t calls = 0;
    double seconds = 0;
  };
  // Cells of the cache that a call of attention reads, and pairs of a row and a cell.
  struct Cells {
    size_t call;
    int64_t window;
    double read = 0, scored = 0;
  };
  // Of a call that multiplies with experts: those that rows may have met, at most; rows can choose the same.
  struct Experts {
    size_t call;
    double count, used;
    bool of_outputs;
    double met = 0;
  };
  const Program* program_ = nullptr;
  std::vector<Time> times_;
  Time draws_;
  std::vector<Cells> cells_;
  std::vector<Experts> experts_;
  double rows_ = 0, outputs_ = 0;
  double cell_bytes_ = 0;  // of a cell in one layer
  int head_dims_ = 0;      // of a key and a value
};

}  // namespace vivace
