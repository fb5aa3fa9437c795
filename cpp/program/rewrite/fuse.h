// Rewrites a program into one that computes the same with less traffic. Every rule has a name and a test that runs
// the program with and without it.
#pragma once
#include "program/program.h"

namespace vivace {

struct FusionRule {
  const char* name;
  const char* what;
  void (*apply)(Program&);
};

const FusionRule* fusion_rules(int& count);

// Inserts quantize_rows or quantize_tokens before every linear and op of experts whose weight wants 8-bit activations,
// once per input and type. Not optional: it is how such a linear gets its activations.
void lower_quantized_linears(Program& program);

// After that: what makes the activations quantises them in the same pass, when nobody wants them as floats. `tokens`:
// also where a whole row has one scale, which cards have kernels for.
void fuse_quantizers(Program& program, bool tokens);

// After that: gate, up and their activation become one op, where `serves` says so of the weights' type and columns.
void fuse_gates(Program& program, bool (*serves)(DType, int64_t));

}  // namespace vivace
