// Q3_K, Q6_K: 256 values in sub-blocks of 16 with signed integer scales under one 16-bit float.
#include <cmath>

#include "quant/blocks.h"
#include "quant/row_blocks.h"
#include "quant/search.h"

namespace vivace {
namespace {

constexpr int width = 256, size = 16, subs = 16;

// Codes are in [-limit, limit), scales in [-scale_limit, scale_limit).
template <int limit, int scale_limit>
struct Fitted {
  StoredHalf d;
  int scales[subs];
  int codes[width];  // plus `limit`

  // Weight of a value: its square plus `evenness` times the mean square.
  void fit(const float* values, float evenness) {
    float fits[subs], top = 0;
    for (int j = 0; j < subs; ++j) {
      const float* x = values + j * size;
      const float rms = root_mean_square(x, size);
      float weights[size];
      for (int i = 0; i < size; ++i) weights[i] = x[i] * x[i] + evenness * rms * rms;
      fits[j] = fit_scale(x, weights, size, limit);
      if (std::fabs(fits[j]) > std::fabs(top)) top = fits[j];
    }
    d.set(top / -scale_limit);
    for (int j = 0; j < subs; ++j) {
      scales[j] = top == 0 ? 0 : clamp_code(nearest(-scale_limit / top * fits[j]), -scale_limit, scale_limit - 1);
      const float scale = d.value() * static_cast<float>(scales[j]);
      for (int i = j * size; i < (j + 1) * size; ++i)
        codes[i] = limit + (scale == 0 ? 0 : clamp_code(nearest(values[i] / scale), -limit, limit - 1));
    }
  }
};

void quantize_q3(const float* values, BlockQ3_K& block) {
  Fitted<4, 32> fitted;
  fitted.fit(values, 1.0f);
  block.d = fitted.d;
  for (int j = 0; j < 4; ++j) {
    int high = 0;
    for (int v = 0; v < 4; ++v) high |= (fitted.scales[4 * v + j] + 32) >> 4 << 2 * v;
    block.sc[8 + j] = static_cast<uint8_t>(high);
  }
  for (int j = 0; j < 8; ++j)
    block.sc[j] = static_cast<uint8_t>(((fitted.scales[j] + 32) & 15) | ((fitted.scales[j + 8] + 32) & 15) << 4);
  for (int i = 0; i < 64; ++i) {
    const int* q = fitted.codes + i / 32 * 128 + i % 32;
    block.qs[i] = static_cast<uint8_t>((q[0] & 3) | (q[32] & 3) << 2 | (q[64] & 3) << 4 | (q[96] & 3) << 6);
  }
  for (int l = 0; l < 32; ++l) {
    int high = 0;
    for (int j = 0; j < 8; ++j) high |= fitted.codes[32 * j + l] >> 2 << j;
    block.hmask[l] = static_cast<uint8_t>(high);
  }
}

void dequantize_q3(const BlockQ3_K& block, float* values) {
  const float d = block.d.value();
  for (int i = 0; i < width; ++i) {
    const int j = i / 16;
    const int low = block.sc[j % 8] >> (j / 8 * 4) & 15, high = block.sc[8 + j % 4] >> (j / 4 * 2) & 3;
    const int q = (block.qs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3) | (block.hmask[i % 32] >> i / 32 & 1) << 2;
    values[i] = d * static_cast<float>((low | high << 4) - 32) * static_cast<float>(q - 4);
  }
}

void quantize_q6(const float* values, BlockQ6_K& block) {
  Fitted<32, 128> fitted;
  fitted.fit(values, 0.0f);
  block.d = fitted.d;
  for (int j = 0; j < subs; ++j) block.sc[j] = static_cast<int8_t>(fitted.scales[j]);
  for (int t = 0; t < 2; ++t) {
    const int* q = fitted.codes + 128 * t;
    for (int l = 0; l < 32; ++l) {
      block.ql[64 * t + l] = static_cast<uint8_t>((q[l] & 15) | (q[l + 64] & 15) << 4);
      block.ql[64 * t + 32 + l] = static_cast<uint8_t>((q[l + 32] & 15) | (q[l + 96] & 15) << 4);
      block.qh[32 * t + l] =
          static_cast<uint8_t>(q[l] >> 4 | q[l + 32] >> 4 << 2 | q[l + 64] >> 4 << 4 | q[l + 96] >> 4 << 6);
    }
  }
}

void dequantize_q6(const BlockQ6_K& block, float* values) {
  const float d = block.d.value();
  for (int i = 0; i < width; ++i) {
    const int t = i / 128, v = i / 32 % 4, l = i % 32;
    const int low = block.ql[64 * t + 32 * (v % 2) + l] >> (v / 2 * 4) & 15, high = block.qh[32 * t + l] >> 2 * v & 3;
    values[i] = d * static_cast<float>(block.sc[i / 16]) * static_cast<float>((low | high << 4) - 32);
  }
}

}  // namespace

const QuantType q3_k_type = block_type<BlockQ3_K, width, quantize_q3, dequantize_q3>(DType::Q3_K);
const QuantType q6_k_type = block_type<BlockQ6_K, width, quantize_q6, dequantize_q6>(DType::Q6_K);

}  // namespace vivace
