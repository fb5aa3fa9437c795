// Scores that labels promise (caches/labels/labels.h), for all cells that a row sees. For files compiled per
// instruction-set level. With labels of 2 to 8 bits a query is rounded to 15 bits of its largest value and products are
// summed as whole numbers; with 16 bits channels are added in ascending order. Each score is then the same on every
// processor, in every batch and whatever lies beside it.
#pragma once
#include "caches/paged_kv.h"
#include "core/simd/codes.h"
#include "ops/attention/parts/attention_rows.h"
#include "ops/attention/parts/attention_tiles.h"
#include "ops/attention/sparse/choice.h"

namespace vivace::VIVACE_ISA {

inline constexpr int pages_ahead = 4;                  // whose labels are fetched
inline constexpr float largest_label_code = 16319.0f;  // 127 · 128 + 63: two signed bytes, the lower one of 7 bits

// One query's values in the channels of a set.
struct LabelQuery {
  float plain[most_label_channels];
  int8_t high[most_label_channels], low[most_label_channels];
  int32_t high_start, low_start;  // what takes back signed_bias
  float total, scale;             // Σ codes; a code's worth

  void make(const float* query, const int32_t* channels, int count, bool whole) {
    float largest = 0.0f;
    for (int c = 0; c < count; ++c) {
      plain[c] = query[channels[c]];
      const float size = f32_from_bits(bits_from_f32(plain[c]) & 0x7fffffff);
      largest = size > largest ? size : largest;
    }
    scale = 1.0f;
    if (!whole) return;
    const bool usable = largest > 0x1p-100f && largest < 0x1p100f;
    scale = usable ? largest / largest_label_code : 1.0f;
    const float inverse = usable ? largest_label_code / largest : 0.0f;
    int32_t sums[2] = {0, 0};
    for (int c = 0; c < most_label_channels; ++c) high[c] = low[c] = 0;
    for (int c = 0; c < count; ++c) {
      const float value = inverse == 0.0f ? 0.0f : plain[c] * inverse;
      // Adding 1.5 · 2^23 leaves the nearest whole number in the low bits.
      const int32_t code = static_cast<int32_t>(bits_from_f32(value + 12582912.0f)) - 0x4b400000;
      const int32_t rest = ((code + 64) & 127) - 64;
      low[c] = static_cast<int8_t>(rest);
      high[c] = static_cast<int8_t>((code - rest) / 128);
      sums[0] += high[c];
      sums[1] += low[c];
    }
    high_start = -signed_bias * sums[0];
    low_start = -signed_bias * sums[1];
    total = static_cast<float>(128 * sums[0] + sums[1]);
  }
};

static_assert(sizeof(LabelQuery) == label_query_bytes);

// The labels of F32::lanes neighbouring slots.
struct LabelStrip {
  const std::byte *codes, *steps, *minima;
  int64_t word_stride;  // bytes between words, or between channels of 16 bits
};

template <int bits, int queries>
VIVACE_FLATTEN inline void score_strip(const LabelStrip& strip, int words, const LabelQuery* query, float* out,
                                       int64_t out_stride) {
  constexpr int highest = bits == 8 ? signed_codes : (1 << bits) - 1;
  constexpr int per_word = 8 / bits, block = 8 / per_word;  // steps in a word; words whose sums stay in 16 bits
  Dot<highest, 8> high[queries], low[queries];
  const bool biased = bits == 8 && signed_bias != 0;
  unroll<queries>([&](int n) {
    high[n].start(splat(biased ? query[n].high_start : 0));
    low[n].start(splat(biased ? query[n].low_start : 0));
  });
  for (int word = 0; word < words;) {
    const int end = word + block < words ? word + block : words;
    for (; word < end; ++word) {
      Ints codes = load_ints(strip.codes + word * strip.word_stride);
      if (biased) codes = codes ^ splat(static_cast<int32_t>(0x80808080));
      unroll<per_word>([&](int part) {
        const int at = 4 * (word * per_word + part);
        const Ints four_codes = bits == 8 ? codes : (codes >> (bits * part)) & splat(highest * 0x01010101);
        unroll<queries>([&](int n) {
          high[n].step(four_codes, query[n].high + at);
          low[n].step(four_codes, query[n].low + at);
        });
      });
    }
    if (word == words) break;
    unroll<queries>([&](int n) {
      high[n].start(high[n].finish());
      low[n].start(low[n].finish());
    });
  }
  const F32 step = load_f16(reinterpret_cast<const uint16_t*>(strip.steps));
  unroll<queries>([&](int n) {
    F32 score = to_f32((high[n].finish() << 7) + low[n].finish()) * step;
    if constexpr (bits < 8)
      score = score + load_f16(reinterpret_cast<const uint16_t*>(strip.minima)) * set1(query[n].total);
    store(out + n * out_stride, score + zero());  // there is one zero
  });
}

template <int queries>
VIVACE_FLATTEN inline void score_halves(const LabelStrip& strip, int channels, const LabelQuery* query, float* out,
                                        int64_t out_stride) {
  F32 sums[queries];
  unroll<queries>([&](int n) { sums[n] = zero(); });
  for (int c = 0; c < channels; ++c) {
    const F32 label = load_f16(reinterpret_cast<const uint16_t*>(strip.codes + c * strip.word_stride));
    unroll<queries>([&](int n) { sums[n] = sums[n] + set1(query[n].plain[c]) * label; });
  }
  unroll<queries>([&](int n) { store(out + n * out_stride, sums[n] + zero()); });
}

// What is asked of one set of labels.
struct LabelScan {
  const PagedKv& kv;
  const LabelLayout& layout;
  int sequence, layer, set;
  Visible seen;
  const int32_t* tree;  // cells of the slots from seen.prefix on

  const std::byte* labels(int page) const { return kv.labels(sequence, page, layer, set); }
  int cell(int slot) const { return slot < seen.prefix ? slot : tree[slot - seen.prefix]; }
};

// Labels of slots that do not lie side by side, brought together; unseen ones stay zeros.
struct GatheredLabels {
  std::byte codes[most_label_channels * 2 * F32::lanes];
  uint16_t steps[F32::lanes], minima[F32::lanes];

  LabelStrip gather(const LabelScan& scan, int first) {
    const LabelLayout& layout = scan.layout;
    const int64_t size = layout.page_size, width = layout.bits == 16 ? 2 : 4;
    const int columns = layout.bits == 16 ? layout.channels : layout.words();
    std::memset(this, 0, sizeof(*this));
    for (int lane = 0; lane < F32::lanes; ++lane) {
      const int slot = first + lane;
      if (slot < scan.seen.begin || slot >= scan.seen.end) continue;
      const int cell = scan.cell(slot), at = cell % layout.page_size;
      const std::byte* from = scan.labels(cell / layout.page_size);
      for (int i = 0; i < columns; ++i)
        std::memcpy(codes + width * (i * F32::lanes + lane), from + width * (i * size + at),
                    static_cast<size_t>(width));
      if (layout.bits == 16) continue;
      std::memcpy(steps + lane, from + layout.steps_at() + 2 * at, 2);
      if (layout.bits < 8) std::memcpy(minima + lane, from + layout.minima_at() + 2 * at, 2);
    }
    return {codes, reinterpret_cast<const std::byte*>(steps), reinterpret_cast<const std::byte*>(minima),
            width * F32::lanes};
  }
};

template <int queries>
inline void score_slots(const LabelScan& scan, const LabelQuery* query, float* out, int64_t out_stride) {
  const LabelLayout& layout = scan.layout;
  const int first = scan.seen.begin / F32::lanes * F32::lanes, words = layout.words();
  const auto score = [&](const LabelStrip& strip, int slot) {
    float* to = out + slot - first;
    if (layout.bits == 16)
      score_halves<queries>(strip, layout.channels, query, to, out_stride);
    else if (layout.bits == 8)
      score_strip<8, queries>(strip, words, query, to, out_stride);
    else if (layout.bits == 4)
      score_strip<4, queries>(strip, words, query, to, out_stride);
    else
      score_strip<2, queries>(strip, words, query, to, out_stride);
  };
  GatheredLabels gathered;
  const bool evenly = layout.page_size % F32::lanes == 0;
  const int64_t width = layout.bits == 16 ? 2 : 4;
  const int last_page = (scan.seen.prefix - 1) / layout.page_size;
  for (int slot = first; slot < scan.seen.end;) {
    const bool plain = evenly && slot < scan.seen.prefix &&
                       (slot + F32::lanes <= scan.seen.prefix || scan.seen.end == scan.seen.prefix);
    if (!plain) {
      score(gathered.gather(scan, slot), slot);
      slot += F32::lanes;
      continue;
    }
    const int page = slot / layout.page_size;
    if (page + pages_ahead <= last_page)
      for (int64_t line = 0; line < layout.bytes(); line += 64) prefetch(scan.labels(page + pages_ahead) + line);
    const std::byte* labels = scan.labels(page);
    const int page_end = (page + 1) * layout.page_size;
    const int end = page_end < scan.seen.prefix ? page_end : scan.seen.prefix;
    for (; slot < end && (slot + F32::lanes <= scan.seen.prefix || scan.seen.end == scan.seen.prefix);
         slot += F32::lanes) {
      const int at = slot - page * layout.page_size;
      score({labels + width * at, labels + layout.steps_at() + 2 * at, labels + layout.minima_at() + 2 * at,
             width * layout.page_size},
            slot);
    }
  }
}

}  // namespace vivace::VIVACE_ISA
