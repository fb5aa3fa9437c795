#include "quant/registry.h"

namespace vivace {

const QuantType* find_quant(DType dtype) {
  static const QuantType* const table[] = {
      &f32_type,        &f16_type,       &bf16_type,      &q4_0_type,      &q4_1_type,       &q5_0_type,
      &q5_1_type,       &q8_0_type,      &q2_k_type,      &q3_k_type,      &q4_k_type,       &q5_k_type,
      &q6_k_type,       &iq4_nl_type,    &iq4_xs_type,    &w8a16_type,     &w8a16_g32_type,  &w8a16_g64_type,
      &w8a16_g128_type, &w4a16_type,     &w4a16_g32_type, &w4a16_g64_type, &w4a16_g128_type, &w8a8_type,
      &w4a8_type,       &w4a8_g128_type,
  };
  for (const QuantType* type : table)
    if (type->dtype == dtype) return type;
  return nullptr;
}

}  // namespace vivace
