// Writes panels (ops/linear/panels.h), for files compiled per level.
#pragma once
#include "ops/linear/codecs.h"
#include "ops/linear/order.h"
#include "ops/linear/panels.h"
#include "ops/linear/units.h"

namespace vivace::VIVACE_ISA {

// Writes a stretch of `count` groups in PanelOrder.
template <class Codec>
void write_panel(Raw raw, int count, std::byte* to) {
  Ints* out = reinterpret_cast<Ints*>(to);
  if constexpr (Codec::width == 32) {
    constexpr int words = words_of_block<Codec>, head = head_bytes<Codec>;
    for_pairs(count, [&]<int g>() {
      Ints* pair = out + g / 2 * PanelOrder::words_of_pair<Codec>;
      const auto write_block = [&]<int block>() {
        for_words<words>(
            [&]<int w>() { pair[block * words + w] = FileOrder::word<Codec, g + block, head + 4 * w>(raw); });
        for (int at = 0; at < head; at += 2) {
          uint32_t halves[lanes];
          store_ints(halves, at == 0 ? FileOrder::low_word<Codec, g + block, 0>(raw)
                                     : FileOrder::low_word<Codec, g + block, head - 2>(raw));
          uint16_t* vector = reinterpret_cast<uint16_t*>(pair + 2 * words) + (at + block) * lanes;
          for (int i = 0; i < lanes; ++i) vector[i] = static_cast<uint16_t>(halves[i]);
        }
      };
      write_block.template operator()<0>();
      write_block.template operator()<1>();
    });
  } else {
    constexpr int size = stretch_bytes<Codec>;
    for_words<words_of_panel<Codec>>([&]<int w>() { out[w] = FileOrder::last_word_of_stretch<4 * w, size>(raw); });
  }
}

template <class Codec>
void pack(const OpRun& run, Team& team) {
  const Tensor& weight = run.inputs[0];
  const int all_groups = static_cast<int>(weight.columns / 32);
  const int64_t unit_bytes = panel_unit_bytes(Codec::width, sizeof(typename Codec::Block), weight.columns, lanes);
  Ints raw[raw_words<Codec>];
  team.share(ceil_div(weight.rows, lanes), 8, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int rows = static_cast<int>(smaller(lanes, weight.rows - unit * lanes));
      Rows stretches = {weight.data + unit * lanes * weight.stride, weight.stride};
      std::byte* to = run.outputs[0].data + unit * unit_bytes;
      for (int group = 0; group < all_groups; group += groups) {
        const int count = all_groups - group < groups ? all_groups - group : groups;
        if (count == groups && rows == lanes)
          read_stretch<Codec>(stretches, raw);
        else
          read_part<Codec>(stretches, rows, count * 32 / Codec::width, raw);
        write_panel<Codec>(raw, count, to);
        stretches.data += stretch_bytes<Codec>;
        to += lanes * 4 * words_of_panel<Codec>;
      }
    }
  });
}

}  // namespace vivace::VIVACE_ISA
