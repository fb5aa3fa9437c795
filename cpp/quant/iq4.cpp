// IQ4_NL, IQ4_XS: four bits into a codebook of 16 uneven levels.
#include <cmath>

#include "quant/blocks.h"
#include "quant/row_blocks.h"
#include "quant/search.h"

namespace vivace {
namespace {

float fit(const float* values) {
  const float rms = root_mean_square(values, 32);
  float weights[32];
  for (int i = 0; i < 32; ++i) weights[i] = rms * rms + values[i] * values[i];
  return fit_levels(values, weights, 32, iq4_levels);
}

void set_codes(const float* values, float scale, uint8_t* qs) {
  const auto code = [&](float x) { return scale == 0 ? 8 : nearest_level(x / scale, iq4_levels); };
  for (int i = 0; i < 16; ++i) qs[i] = static_cast<uint8_t>(code(values[i]) | code(values[i + 16]) << 4);
}

void get_values(const uint8_t* qs, float scale, float* values) {
  for (int i = 0; i < 16; ++i) {
    values[i] = scale * static_cast<float>(iq4_levels[qs[i] & 15]);
    values[i + 16] = scale * static_cast<float>(iq4_levels[qs[i] >> 4]);
  }
}

void quantize_nl(const float* values, BlockIQ4_NL& block) {
  block.d.set(fit(values));
  set_codes(values, block.d.value(), block.qs);
}

void dequantize_nl(const BlockIQ4_NL& block, float* values) {
  get_values(block.qs, block.d.value(), values);
}

void quantize_xs(const float* values, BlockIQ4_XS& block) {
  float fits[8], top = 0;
  for (int j = 0; j < 8; ++j) {
    fits[j] = fit(values + 32 * j);
    if (std::fabs(fits[j]) > std::fabs(top)) top = fits[j];
  }
  block.d.set(top / -32);
  for (uint8_t& byte : block.sc_high) byte = 0;
  for (uint8_t& byte : block.sc_low) byte = 0;
  for (int j = 0; j < 8; ++j) {
    const int scale = top == 0 ? 0 : clamp_code(nearest(-32 / top * fits[j]), -32, 31);
    block.sc_low[j / 2] = static_cast<uint8_t>(block.sc_low[j / 2] | ((scale + 32) & 15) << (j % 2 * 4));
    block.sc_high[j / 4] = static_cast<uint8_t>(block.sc_high[j / 4] | (scale + 32) >> 4 << (j % 4 * 2));
    set_codes(values + 32 * j, block.d.value() * static_cast<float>(scale), block.qs + 16 * j);
  }
}

void dequantize_xs(const BlockIQ4_XS& block, float* values) {
  for (int j = 0; j < 8; ++j) {
    const int low = block.sc_low[j / 2] >> (j % 2 * 4) & 15, high = block.sc_high[j / 4] >> (j % 4 * 2) & 3;
    get_values(block.qs + 16 * j, block.d.value() * static_cast<float>((low | high << 4) - 32), values + 32 * j);
  }
}

}  // namespace

const QuantType iq4_nl_type = block_type<BlockIQ4_NL, 32, quantize_nl, dequantize_nl>(DType::IQ4_NL);
const QuantType iq4_xs_type = block_type<BlockIQ4_XS, 256, quantize_xs, dequantize_xs>(DType::IQ4_XS);

}  // namespace vivace
