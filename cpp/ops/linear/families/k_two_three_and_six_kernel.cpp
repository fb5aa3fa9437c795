// Bodies of linear for blocks of 256 columns with codes of 2, 3 and 6 bits, compiled once per instruction-set level.
#include "ops/linear/families/bodies.h"

namespace vivace::VIVACE_ISA {

LinearBodies bodies_of_k_2_3_and_6(DType dtype) {
  switch (dtype) {
    case DType::Q2_K:
      return bodies<CodecQ2_K>();
    case DType::Q3_K:
      return bodies<CodecQ3_K>();
    case DType::Q6_K:
      return bodies<CodecQ6_K>();
    default:
      return {};
  }
}

}  // namespace vivace::VIVACE_ISA
