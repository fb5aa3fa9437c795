// Table row and checks of rope_table.
#include "ops/attention/rope_table.h"

namespace vivace {
namespace {

void check(const OpShapes& shapes) {
  const Tensor &positions = shapes.inputs[0], &frequencies = shapes.inputs[1], &table = shapes.outputs[0];
  require(positions.dtype == DType::I32 && frequencies.dtype == DType::F32 && table.dtype == DType::F32,
          "DTYPE_MISMATCH", "rope_table wants I32 positions and F32 frequencies");
  require(positions.columns == 1 && positions.rows == table.rows && frequencies.rows == 1 &&
              table.columns == 2 * frequencies.columns,
          "SHAPE_MISMATCH", "rope_table: shapes differ");
}

const char* const attributes[] = {"magnitude"};

}  // namespace

const OpInfo rope_table_op = {"rope_table", 2, 2, 1, attributes, 1, false, check, nullptr, VIVACE_KERNELS(rope_table)};

}  // namespace vivace
