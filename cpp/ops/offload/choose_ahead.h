// choose_ahead: fetches the cells that rows of a later layer seem to choose: those of the queries q[r], as attention
// would
//   q: F32 [rows, heads · key_dim], guesses of that layer's queries (Double Sparsity, Yang et al. 2024, offloading). No
//   output: what is fetched changes when something is there, never what it is. Attributes: layer, heads, window, as
//   attention's. Labels of cells that this run adds may not be there yet; such cells are not looked for. Does nothing
//   unless the cache has the layer in a file.
//   bytes: the labels of all cells that a row sees, as in attention.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo choose_ahead_op;
VIVACE_DECLARE_KERNEL(choose_ahead)
}  // namespace vivace
