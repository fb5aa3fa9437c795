// A program as native code keeps it: values, calls, and where weights and constants lie.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "program/op.h"

namespace vivace {

inline constexpr int64_t rows_symbol = -1;     // one row per token of the run
inline constexpr int64_t outputs_symbol = -2;  // one row per output of the run

enum class ValueKind { input, weight, constant, value };

struct ValueInfo {
  std::string name;
  DType dtype = DType::F32;
  int64_t rows = 0;  // or a symbol
  int64_t columns = 0;
  ValueKind kind = ValueKind::value;
  const std::byte* data = nullptr;  // weights and constants: [rows] at row_bytes(dtype, columns)
  bool mapped = false;              // data lies in a file: the system can give its pages back
};

struct CallInfo {
  const OpInfo* op = nullptr;
  std::vector<int> inputs;  // value ids, -1: absent
  std::vector<int> outputs;
  std::vector<double> attributes;
};

struct Program {
  std::vector<ValueInfo> values;
  std::vector<CallInfo> calls;
  std::vector<int> outputs;  // values that a run returns
};

// Ids, arities, and that every value is computed before it is used. Throws INTERNAL.
void check_program(const Program& program);

}  // namespace vivace
