// Bodies of linear for blocks of 32 columns with codes of 5 and 8 bits, compiled once per instruction-set level.
#include "ops/linear/families/bodies.h"

namespace vivace::VIVACE_ISA {

LinearBodies bodies_of_5_and_8_bits(DType dtype) {
  switch (dtype) {
    case DType::Q5_0:
      return bodies<CodecQ5_0>();
    case DType::Q5_1:
      return bodies<CodecQ5_1>();
    case DType::Q8_0:
      return bodies<CodecQ8_0>();
    default:
      return {};
  }
}

}  // namespace vivace::VIVACE_ISA
