// Q2_K, Q4_K, Q5_K: 256 values in sub-blocks with small integer scales and minima under two 16-bit floats. Each
// sub-block is fitted alone, scales and minima are rounded together, and codes are taken against the rounded ones.
#include <algorithm>
#include <cmath>

#include "quant/blocks.h"
#include "quant/row_blocks.h"
#include "quant/search.h"

namespace vivace {
namespace {

constexpr int width = 256;

// Six bits of scale and minimum of sub-block j out of 12 bytes.
void unpack_scales(const uint8_t* sc, int j, int& scale, int& min) {
  if (j < 4) {
    scale = sc[j] & 63;
    min = sc[j + 4] & 63;
  } else {
    scale = (sc[j + 4] & 15) | sc[j - 4] >> 6 << 4;
    min = sc[j + 4] >> 4 | sc[j] >> 6 << 4;
  }
}

void pack_scales(const int* scales, const int* mins, uint8_t* sc) {
  for (int j = 0; j < 4; ++j) {
    sc[j] = static_cast<uint8_t>(scales[j] | scales[j + 4] >> 4 << 6);
    sc[j + 4] = static_cast<uint8_t>(mins[j] | mins[j + 4] >> 4 << 6);
    sc[j + 8] = static_cast<uint8_t>((scales[j + 4] & 15) | (mins[j + 4] & 15) << 4);
  }
}

// What all three types have in common: `subs` sub-blocks with `highest` as the largest code, scales up to `scale_top`.
template <int subs, int highest, int scale_top>
struct Fitted {
  StoredHalf d, dmin;
  int scales[subs], mins[subs];
  int codes[width];

  void fit(const float* values, float first, int steps) {
    constexpr int size = width / subs;
    ScaleMin fits[subs];
    float top_scale = 0, top_min = 0;
    for (int j = 0; j < subs; ++j) {
      const float* x = values + j * size;
      const float rms = root_mean_square(x, size);
      float weights[size];
      for (int i = 0; i < size; ++i) weights[i] = rms + std::fabs(x[i]);
      fits[j] = fit_scale_min(x, weights, size, highest, first, steps);
      top_scale = std::max(top_scale, fits[j].scale);
      top_min = std::max(top_min, fits[j].min);
    }
    d.set(top_scale / scale_top);
    dmin.set(top_min / scale_top);
    for (int j = 0; j < subs; ++j) {
      scales[j] = top_scale > 0 ? clamp_code(nearest(scale_top / top_scale * fits[j].scale), 0, scale_top) : 0;
      mins[j] = top_min > 0 ? clamp_code(nearest(scale_top / top_min * fits[j].min), 0, scale_top) : 0;
      const float scale = d.value() * static_cast<float>(scales[j]), min = dmin.value() * static_cast<float>(mins[j]);
      for (int i = j * size; i < (j + 1) * size; ++i)
        codes[i] = scale > 0 ? clamp_code(nearest((values[i] + min) / scale), 0, highest) : 0;
    }
  }
};

void quantize_q2(const float* values, BlockQ2_K& block) {
  Fitted<16, 3, 15> fitted;
  fitted.fit(values, -0.5f, 15);
  block.d = fitted.d;
  block.dmin = fitted.dmin;
  for (int j = 0; j < 16; ++j) block.sc[j] = static_cast<uint8_t>(fitted.scales[j] | fitted.mins[j] << 4);
  for (int i = 0; i < 64; ++i) {
    const int* q = fitted.codes + i / 32 * 128 + i % 32;
    block.qs[i] = static_cast<uint8_t>(q[0] | q[32] << 2 | q[64] << 4 | q[96] << 6);
  }
}

void dequantize_q2(const BlockQ2_K& block, float* values) {
  const float d = block.d.value(), dmin = block.dmin.value();
  for (int i = 0; i < width; ++i) {
    const int sc = block.sc[i / 16], q = block.qs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
    values[i] = d * static_cast<float>(sc & 15) * static_cast<float>(q) - dmin * static_cast<float>(sc >> 4);
  }
}

void quantize_q4(const float* values, BlockQ4_K& block) {
  Fitted<8, 15, 63> fitted;
  fitted.fit(values, -1.0f, 20);
  block.d = fitted.d;
  block.dmin = fitted.dmin;
  pack_scales(fitted.scales, fitted.mins, block.sc);
  for (int i = 0; i < 128; ++i) {
    const int* q = fitted.codes + i / 32 * 64 + i % 32;
    block.qs[i] = static_cast<uint8_t>(q[0] | q[32] << 4);
  }
}

void quantize_q5(const float* values, BlockQ5_K& block) {
  Fitted<8, 31, 63> fitted;
  fitted.fit(values, -0.5f, 15);
  block.d = fitted.d;
  block.dmin = fitted.dmin;
  pack_scales(fitted.scales, fitted.mins, block.sc);
  for (int i = 0; i < 128; ++i) {
    const int* q = fitted.codes + i / 32 * 64 + i % 32;
    block.qs[i] = static_cast<uint8_t>((q[0] & 15) | (q[32] & 15) << 4);
  }
  for (int l = 0; l < 32; ++l) {
    int high = 0;
    for (int j = 0; j < 8; ++j) high |= fitted.codes[32 * j + l] >> 4 << j;
    block.qh[l] = static_cast<uint8_t>(high);
  }
}

template <class Block>
void dequantize_q4_q5(const Block& block, float* values) {
  const float d = block.d.value(), dmin = block.dmin.value();
  for (int j = 0; j < 8; ++j) {
    int scale, min;
    unpack_scales(block.sc, j, scale, min);
    const float step = d * static_cast<float>(scale), offset = dmin * static_cast<float>(min);
    for (int l = 0; l < 32; ++l) {
      int q = block.qs[j / 2 * 32 + l] >> (j % 2 * 4) & 15;
      if constexpr (requires { block.qh; }) q |= (block.qh[l] >> j & 1) << 4;
      values[32 * j + l] = step * static_cast<float>(q) - offset;
    }
  }
}

}  // namespace

const QuantType q2_k_type = block_type<BlockQ2_K, width, quantize_q2, dequantize_q2>(DType::Q2_K);
const QuantType q4_k_type = block_type<BlockQ4_K, width, quantize_q4, dequantize_q4_q5>(DType::Q4_K);
const QuantType q5_k_type = block_type<BlockQ5_K, width, quantize_q5, dequantize_q4_q5>(DType::Q5_K);

}  // namespace vivace
