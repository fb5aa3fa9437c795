// Bodies of linear for blocks of 256 columns with codes of 4 and 5 bits, compiled once per instruction-set level.
#include "ops/linear/families/bodies.h"

namespace vivace::VIVACE_ISA {

LinearBodies bodies_of_k_4_and_5(DType dtype) {
  switch (dtype) {
    case DType::Q4_K:
      return bodies<CodecQ4_K>();
    case DType::Q5_K:
      return bodies<CodecQ5_K>();
    case DType::IQ4_XS:
      return bodies<CodecIQ4_XS>();
    default:
      return {};
  }
}

}  // namespace vivace::VIVACE_ISA
