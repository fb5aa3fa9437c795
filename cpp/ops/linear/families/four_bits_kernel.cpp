// Bodies of linear for blocks of 32 columns with codes of 4 bits, compiled once per instruction-set level.
#include "ops/linear/families/bodies.h"

namespace vivace::VIVACE_ISA {

LinearBodies bodies_of_4_bits(DType dtype) {
  switch (dtype) {
    case DType::Q4_0:
      return bodies<CodecQ4_0>();
    case DType::Q4_1:
      return bodies<CodecQ4_1>();
    case DType::IQ4_NL:
      return bodies<CodecIQ4_NL>();
    default:
      return {};
  }
}

}  // namespace vivace::VIVACE_ISA
