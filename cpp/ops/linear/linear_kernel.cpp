// Body of linear, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
//
// Work is shared in units of a few weight rows and a block of batch rows whose activations stay in the second-level
// cache. Decode is the same code with one small block: weights stream through once.
#include "ops/linear/codecs.h"
#include "ops/linear/float_tile.h"
#include "ops/linear/linear.h"
#include "ops/linear/panels.h"
#include "ops/linear/units.h"
#include "ops/row_scaled/row_scaled.h"

namespace vivace::VIVACE_ISA {
namespace {

constexpr int row_block = 128;  // batch rows of a unit, at most
constexpr int few_rows = 8;

// Pointers to `count` weight rows from `first` on; rows beyond the last are the last again.
template <class Stored, int count>
void row_pointers(const Tensor& weight, int64_t first, const Stored* (&pointers)[count]) {
  for (int i = 0; i < count; ++i) pointers[i] = weight.row<const Stored>(smaller(first + i, weight.rows - 1));
}

// Few rows: codes go from the bytes of a stretch straight into dot products.
template <class Order, class Codec, int R>
VIVACE_APART void multiply_raw(Raw raw, const Scales& scales, int count, const std::byte* next, const A8Block* const* x,
                               float (*sums)[lanes]) {
  const Scales* const all_scales[1] = {&scales};
  F32 sum[1][R];
  for (int r = 0; r < R; ++r) sum[0][r] = load(sums[r]);
  for_groups(count, [&]<int g>() {
    Ints words[8];
    fetch_group<Codec>(next, g);
    Codec::template codes<Order, g>(raw, words);
    multiply_group<Codec, 1, R>(
        g, all_scales, x, [&](int, int w) { return words[w]; }, sum);
  });
  for (int r = 0; r < R; ++r) store(sums[r], sum[0][r]);
}

// Many rows: codes are unpacked once.
template <class Codec, int P, int R>
inline void multiply_panels(const Panel* panels, int count, const std::byte* next, const A8Block* const* x,
                            float (*const (&sums)[P])[lanes]) {
  const Scales* scales[P];
  F32 sum[P][R];
  for (int p = 0; p < P; ++p) {
    scales[p] = &panels[p].scales;
    for (int r = 0; r < R; ++r) sum[p][r] = load(sums[p][r]);
  }
  for (int g = 0; g < count; ++g) {
    if (next != nullptr) fetch_group<Codec>(next, g);
    multiply_group<Codec, P, R>(
        g, scales, x, [&](int p, int w) { return load_ints(panels[p].codes[g][w]); }, sum);
  }
  for (int p = 0; p < P; ++p)
    for (int r = 0; r < R; ++r) store(sums[p][r], sum[p][r]);
}

template <class Order, class Codec>
void unpack(Raw raw, int count, Panel& panel) {
  for_groups(count, [&]<int g>() {
    Ints words[8];
    Codec::template codes<Order, g>(raw, words);
    for (int w = 0; w < 8; ++w) store_ints(panel.codes[g][w], words[w]);
  });
}

// Batch rows up to which a panel is not worth its stores (measured).
template <class Order, class Codec>
inline constexpr int raw_rows = dot_rows > 4 && !Order::is_panel && Codec::width != 32 ? 2
                                : dot_rows > 4 || Order::is_panel                      ? 4
                                                                                       : 2;

// sums[row] += a stretch of `count` groups, from column group `group` on, times every row of the block. `next` is
// fetched meanwhile.
template <class Order, class Codec>
void multiply_stretch(Raw raw, Panel& panel, int group, int count, const std::byte* next, const Tensor& x,
                      int64_t first, int64_t rows, float (*sums)[lanes]) {
  read_scales<Order, Codec>(raw, count, panel.scales);
  const bool few = rows <= raw_rows<Order, Codec>;
  if (!few) unpack<Order, Codec>(raw, count, panel);
  const A8Block* rows_of_x[dot_rows];
  const auto multiply_rows = [&]<int R>(int64_t row) {
    for (int r = 0; r < R; ++r) rows_of_x[r] = x.row<const A8Block>(first + row + r) + group;
    if (few)
      multiply_raw<Order, Codec, R>(raw, panel.scales, count, next, rows_of_x, sums + row);
    else
      multiply_panels<Codec, 1, R>(&panel, count, row == 0 ? next : nullptr, rows_of_x, {sums + row});
  };
  int64_t row = 0;
  for (; row + dot_rows <= rows; row += dot_rows) multiply_rows.template operator()<dot_rows>(row);
  if constexpr (dot_rows > 4)
    for (; row + 4 <= rows; row += 4) multiply_rows.template operator()<4>(row);
  for (; row + 2 <= rows; row += 2) multiply_rows.template operator()<2>(row);
  if (row < rows) multiply_rows.template operator()<1>(row);
}

// Weights as they lie in the file.
template <class Codec>
void from_file(const OpRun& run, Team& team) {
  constexpr int size = stretch_bytes<Codec>;
  const Tensor &x = run.inputs[0], &weight = run.inputs[1];
  const int all_groups = static_cast<int>(weight.columns / 32);
  alignas(64) float sums[row_block][lanes];
  Ints raw[raw_words<Codec>];
  Panel panel;
  for_units(run, team, lanes, block_of_rows(x.stride, row_block), [&](int64_t n, int64_t first, int64_t rows) {
    const int weight_rows = static_cast<int>(smaller(lanes, weight.rows - n));
    Rows stretches = {weight.data + n * weight.stride, weight.stride};
    const std::byte* next = stretches[lanes];
    std::memset(sums, 0, static_cast<size_t>(rows) * sizeof(sums[0]));
    for (int group = 0; group < all_groups; group += groups) {
      const int count = all_groups - group < groups ? all_groups - group : groups;
      if (count == groups && weight_rows == lanes)
        read_stretch<Codec>(stretches, raw);
      else
        read_part<Codec>(stretches, weight_rows, count * 32 / Codec::width, raw);
      multiply_stretch<FileOrder, Codec>(raw, panel, group, count, next, x, first, rows, sums);
      stretches.data += size;
      next += lanes * size;
    }
    for (int64_t row = 0; row < rows; ++row) finish(run, first + row, n, weight_rows, sums[row]);
  });
}

// Panels that many rows are multiplied with at once, and rows of a tile then: two panels share broadcasts.
inline constexpr int panels_at_once = F32::lanes == 16 ? 2 : 1;
inline constexpr int shared_rows = dot_rows / panels_at_once;

// Weights that were laid side by side when the model was loaded: one long stream. A unit is one panel's rows, for many
// rows of the batch `panels_at_once` panels'.
template <class Codec>
class PanelUnit {
  static constexpr int size = lanes * 4 * words_of_panel<Codec>;
  // Fetched so far ahead: what memory gives while one line is on its way (two stretches of Q4_0 were too few).
  static constexpr int ahead = (8192 + size - 1) / size * size;

 public:
  PanelUnit(const OpRun& run)
      : run_(run),
        all_groups_(static_cast<int>(run.inputs[1].columns / 32)),
        unit_bytes_(panel_unit_bytes(Codec::width, sizeof(typename Codec::Block), run.inputs[1].columns, lanes)) {}

  void few(int64_t n, int64_t first, int64_t rows) {
    const Tensor &x = run_.inputs[0], &weight = run_.inputs[1];
    const std::byte* at = weight.data + n / lanes * unit_bytes_;
    std::memset(sums_[0], 0, static_cast<size_t>(rows) * sizeof(sums_[0][0]));
    for (int group = 0; group < all_groups_; group += groups, at += size)
      multiply_stretch<PanelOrder, Codec>(reinterpret_cast<Raw>(at), panels_[0], group, groups_from(group), at + ahead,
                                          x, first, rows, sums_[0]);
    write(0, n, first, rows);
  }

  void many(int64_t n, int64_t first, int64_t rows) {
    const Tensor &x = run_.inputs[0], &weight = run_.inputs[1];
    if (panels_at_once == 1 || n + lanes >= weight.rows) return few(n, first, rows);
    const std::byte* first_panel = weight.data + n / lanes * unit_bytes_;
    for (auto& sums : sums_) std::memset(sums, 0, static_cast<size_t>(rows) * sizeof(sums[0]));
    for (int group = 0; group < all_groups_; group += groups) {
      const int count = groups_from(group);
      for (int p = 0; p < panels_at_once; ++p) {
        const Raw raw = reinterpret_cast<Raw>(first_panel + p * unit_bytes_ + group / groups * size);
        read_scales<PanelOrder, Codec>(raw, count, panels_[p].scales);
        unpack<PanelOrder, Codec>(raw, count, panels_[p]);
      }
      // What the panels' own stretches end before is fetched from the next unit's.
      int64_t next = group / groups * size + ahead;
      if (next >= unit_bytes_) next += unit_bytes_ * (panels_at_once - 1);
      const A8Block* rows_of_x[shared_rows];
      const auto multiply_rows = [&]<int R>(int64_t row) {
        for (int r = 0; r < R; ++r) rows_of_x[r] = x.row<const A8Block>(first + row + r) + group;
        float(*sums[panels_at_once])[lanes];
        for (int p = 0; p < panels_at_once; ++p) sums[p] = sums_[p] + row;
        const int64_t tile = row / shared_rows;  // each of the first fetches for one panel
        const std::byte* fetched = tile < panels_at_once ? first_panel + tile * unit_bytes_ + next : nullptr;
        multiply_panels<Codec, panels_at_once, R>(panels_, count, fetched, rows_of_x, sums);
      };
      int64_t row = 0;
      for (; row + shared_rows <= rows; row += shared_rows) multiply_rows.template operator()<shared_rows>(row);
      for (; row + 2 <= rows; row += 2) multiply_rows.template operator()<2>(row);
      if (row < rows) multiply_rows.template operator()<1>(row);
    }
    for (int p = 0; p < panels_at_once; ++p) write(p, n + p * lanes, first, rows);
  }

 private:
  int groups_from(int group) const { return all_groups_ - group < groups ? all_groups_ - group : groups; }
  void write(int p, int64_t n, int64_t first, int64_t rows) {
    const int64_t count = smaller(lanes, run_.inputs[1].rows - n);
    for (int64_t row = 0; row < rows; ++row) finish(run_, first + row, n, count, sums_[p][row]);
  }

  const OpRun& run_;
  const int all_groups_;
  const int64_t unit_bytes_;
  alignas(64) float sums_[panels_at_once][row_block][lanes];
  Panel panels_[panels_at_once];
};

template <class Codec>
void from_panels(const OpRun& run, Team& team) {
  PanelUnit<Codec> unit(run);
  const int64_t block = block_of_rows(run.inputs[0].stride, row_block);
  if (run.outputs[0].rows <= raw_rows<PanelOrder, Codec>)
    for_units(run, team, lanes, block, [&](int64_t n, int64_t first, int64_t rows) { unit.few(n, first, rows); });
  else
    for_units(run, team, lanes * panels_at_once, block,
              [&](int64_t n, int64_t first, int64_t rows) { unit.many(n, first, rows); });
}

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

template <class Codec>
void quantised(const OpRun& run, Team& team) {
  if (run.inputs[1].panels)
    from_panels<Codec>(run, team);
  else
    from_file<Codec>(run, team);
}

template <class Weight>
void floats(const OpRun& run, Team& team) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1];
  for_units(run, team, weight_tile, block_of_rows(x.stride, row_block), [&](int64_t n, int64_t first, int64_t rows) {
    const typename Weight::Stored* weights[weight_tile];
    row_pointers(weight, n, weights);
    const int count = static_cast<int>(smaller(weight_tile, weight.rows - n));
    // With few rows, memory is the limit; with many, fetching once per row tile would only take load slots.
    const std::byte* next = rows <= few_rows ? weight.data + (n + weight_tile) * weight.stride : nullptr;
    const auto multiply_rows = [&]<int R>(int64_t row) {
      const float* rows_of_x[R];
      float sums[R][weight_tile];
      for (int r = 0; r < R; ++r) rows_of_x[r] = x.row<const float>(first + row + r);
      multiply_floats<Weight, R>(weights, rows_of_x, weight.columns, next, sums);
      for (int r = 0; r < R; ++r) finish(run, first + row + r, n, count, sums[r]);
    };
    int64_t row = 0;
    for (; row + row_tile <= rows; row += row_tile) multiply_rows.template operator()<row_tile>(row);
    for (; row < rows; ++row) multiply_rows.template operator()<1>(row);
  });
}

}  // namespace

void linear(const OpRun& run, Team& team) {
  switch (run.inputs[1].dtype) {
    case DType::F32:
      return floats<WeightF32>(run, team);
    case DType::F16:
      return floats<WeightF16>(run, team);
    case DType::BF16:
      return floats<WeightBF16>(run, team);
    case DType::Q4_0:
      return quantised<CodecQ4_0>(run, team);
    case DType::Q4_1:
      return quantised<CodecQ4_1>(run, team);
    case DType::Q5_0:
      return quantised<CodecQ5_0>(run, team);
    case DType::Q5_1:
      return quantised<CodecQ5_1>(run, team);
    case DType::Q8_0:
      return quantised<CodecQ8_0>(run, team);
    case DType::Q2_K:
      return quantised<CodecQ2_K>(run, team);
    case DType::Q3_K:
      return quantised<CodecQ3_K>(run, team);
    case DType::Q4_K:
      return quantised<CodecQ4_K>(run, team);
    case DType::Q5_K:
      return quantised<CodecQ5_K>(run, team);
    case DType::Q6_K:
      return quantised<CodecQ6_K>(run, team);
    case DType::IQ4_NL:
      return quantised<CodecIQ4_NL>(run, team);
    case DType::IQ4_XS:
      return quantised<CodecIQ4_XS>(run, team);
    case DType::W8A16:
    case DType::W8A16_G32:
    case DType::W8A16_G64:
    case DType::W8A16_G128:
    case DType::W4A16:
    case DType::W4A16_G32:
    case DType::W4A16_G64:
    case DType::W4A16_G128:
    case DType::W8A8:
    case DType::W4A8:
    case DType::W4A8_G128:
      return row_scaled_linear(run, team);
    case DType::I32:
    case DType::A8_TOKEN:
    case DType::A8:
      return;
  }
}

void pack_panels(const OpRun& run, Team& team) {
  switch (run.inputs[0].dtype) {
    case DType::Q4_0:
      return pack<CodecQ4_0>(run, team);
    case DType::Q4_1:
      return pack<CodecQ4_1>(run, team);
    case DType::Q5_0:
      return pack<CodecQ5_0>(run, team);
    case DType::Q5_1:
      return pack<CodecQ5_1>(run, team);
    case DType::Q8_0:
      return pack<CodecQ8_0>(run, team);
    case DType::Q2_K:
      return pack<CodecQ2_K>(run, team);
    case DType::Q3_K:
      return pack<CodecQ3_K>(run, team);
    case DType::Q4_K:
      return pack<CodecQ4_K>(run, team);
    case DType::Q5_K:
      return pack<CodecQ5_K>(run, team);
    case DType::Q6_K:
      return pack<CodecQ6_K>(run, team);
    case DType::IQ4_NL:
      return pack<CodecIQ4_NL>(run, team);
    case DType::IQ4_XS:
      return pack<CodecIQ4_XS>(run, team);
    default:
      return;
  }
}

}  // namespace vivace::VIVACE_ISA
