// Body of row_scaled_linear, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
//
// A few batch rows: weights are unpacked in registers while they stream through, four rows at a time. More: a chunk of
// eight weight rows is unpacked into the first-level cache and used against all batch rows of a block. Both add the
// same products in the same order.
#include "ops/row_scaled/row_scaled.h"

#include <type_traits>

#include "ops/linear/units.h"
#include "ops/row_scaled/token_pairs.h"
#include "ops/row_scaled/weight_rows.h"

namespace vivace::VIVACE_ISA {
namespace {

constexpr int tile = 4;                           // weight rows of a register tile
constexpr int row_tile = F32::lanes > 8 ? 4 : 2;  // batch rows of a register tile
constexpr int chunk_rows = 2 * tile;              // weight rows that are unpacked together
constexpr int64_t row_block = 64;                 // batch rows of a unit, at most

// What the epilogue needs of `count` weight rows. W?A16: nothing, weights are whole.
template <int count>
struct Scales {
  float scale[count], shift[count];
};

template <class Row, int count>
void load_scales(const Tensor& weight, int64_t n, Scales<count>& scales) {
  if constexpr (Row::bits_of_x == 8)
    for (int i = 0; i < count; ++i) {
      const RowScale row = load_row_scale(weight.row<const std::byte>(smaller(n + i, weight.rows - 1)));
      scales.scale[i] = row.scale;
      scales.shift[i] = row.shift;
    }
}

// The epilogue: lanes are added up, scales applied.
template <class Row>
void finish_sums(const OpRun& run, int64_t row, int64_t n, const F32* sums, const float*, const float*) {
  float values[tile];
  sum4(values, sums[0], sums[1], sums[2], sums[3]);
  finish(run, row, n, smaller(tile, run.inputs[1].rows - n), values);
}

template <class Row>
void finish_totals(const OpRun& run, int64_t row, int64_t n, const int32_t* totals, const float* scale,
                   const float* shift) {
  TokenScale token;
  std::memcpy(&token, run.inputs[0].row<const std::byte>(row), sizeof(token));
  const int32_t offset = Row::bias * token.sum;
  const float sum = static_cast<float>(token.sum);
  float values[tile];
  for (int i = 0; i < tile; ++i)
    values[i] = token.scale * (scale[i] * static_cast<float>(totals[i] - offset) - shift[i] * sum);
  finish(run, row, n, smaller(tile, run.inputs[1].rows - n), values);
}

template <class Row>
void finish_sums(const OpRun& run, int64_t row, int64_t n, const Sums* sums, const float* scale, const float* shift) {
  int32_t totals[tile];
  totals4(totals, sums[0], sums[1], sums[2], sums[3]);
  finish_totals<Row>(run, row, n, totals, scale, shift);
}

// Columns over which a row's parameters hold.
template <class Row>
int64_t stretch_of(int64_t columns) {
  return Row::stretch == 0 ? columns : Row::stretch;
}

template <class Row>
void start_rows(Row (&rows)[tile], const Tensor& weight, int64_t n) {
  for (int i = 0; i < tile; ++i) rows[i].start(weight.row<const std::byte>(smaller(n + i, weight.rows - 1)));
}

// sums[r][i] += weights[i] · x[r] over a vector's columns, which lie as `Order` says.
template <class Kind, class Order, int R>
inline void add_step(const typename Kind::Vector* weights, const typename Kind::Stored* const* x, int64_t k,
                     typename Kind::Sum (*sums)[tile]) {
  VIVACE_UNROLLED
  for (int r = 0; r < R; ++r) {
    const typename Kind::Vector value = Order::order(Kind::load_all(x[r] + k));
    VIVACE_UNROLLED
    for (int i = 0; i < tile; ++i) sums[r][i] = Kind::add(sums[r][i], weights[i], value);
  }
}

// The last columns of R rows of x, padded with zeros to a vector.
template <class Kind, int R>
struct LastColumns {
  LastColumns(const typename Kind::Stored* const* x, int64_t k, int count) {
    for (int r = 0; r < R; ++r) {
      std::memcpy(values[r], x[r] + k, static_cast<size_t>(count) * sizeof(values[r][0]));
      rows[r] = values[r];
    }
  }
  alignas(64) typename Kind::Stored values[R][Kind::lanes] = {};
  const typename Kind::Stored* rows[R];
};

// Outputs of `tile` weight rows and R batch rows, unpacking in registers. Meanwhile as many bytes as the weights have
// are fetched from `next` on: a processor follows one long stream better than `tile` short ones.
template <class Row, int R>
void stream(const OpRun& run, int64_t n, int64_t first) {
  using Kind = typename Row::Kind;
  constexpr int step_bytes = tile * Kind::lanes * Row::bits / 8;
  const Tensor &x = run.inputs[0], &weight = run.inputs[1];
  const int64_t columns = weight.columns, stretch = stretch_of<Row>(columns);
  const std::byte* next = weight.data + (n + tile) * weight.stride;
  Row rows[tile];
  start_rows(rows, weight, n);
  Scales<tile> scales;
  load_scales<Row>(weight, n, scales);
  const typename Kind::Stored* rows_of_x[R];
  typename Kind::Sum sums[R][tile];
  for (int r = 0; r < R; ++r) {
    rows_of_x[r] = Kind::row_of(x, first + r);
    for (int i = 0; i < tile; ++i) sums[r][i] = Kind::none();
  }
  typename Kind::Vector weights[tile];
  for (int64_t from = 0; from < columns; from += stretch) {
    for (int i = 0; i < tile; ++i) rows[i].enter();
    int64_t k = 0;
    for (; k + Kind::lanes <= stretch; k += Kind::lanes) {
      for (int line = 0; line < step_bytes; line += 64) prefetch(next + line);
      next += step_bytes;
      for (int i = 0; i < tile; ++i) weights[i] = rows[i].at(k);
      add_step<Kind, Row, R>(weights, rows_of_x, from + k, sums);
    }
    if (k < stretch) {
      const int rest = static_cast<int>(stretch - k);
      const LastColumns<Kind, R> last(rows_of_x, from + k, rest);
      for (int i = 0; i < tile; ++i) weights[i] = rows[i].first(k, rest);
      add_step<Kind, Row, R>(weights, last.rows, 0, sums);
    }
  }
  if constexpr (std::is_same_v<typename Kind::Sum, F32>)
    for (int r = 0; r < R; ++r)
      for (int i = 0; i < tile; ++i) sums[r][i] = Row::columns(sums[r][i]);
  for (int r = 0; r < R; ++r) finish_sums<Row>(run, first + r, n, sums[r], scales.scale, scales.shift);
}

// Unpacks `count` columns from column `from` on: calls put(k, vector) with whole vectors.
template <class Row, class Put>
void unpack(Row& state, int64_t from, int64_t count, int64_t stretch, Put&& put) {
  using Kind = typename Row::Kind;
  Row row = state;  // in registers: what `put` stores might be a part of `state`, for all that a compiler knows
  for (int64_t done = 0; done < count;) {
    const int64_t at = (from + done) % stretch, part = smaller(stretch - at, count - done);
    if (at == 0) row.enter();
    int64_t k = 0;
    for (; k + Kind::lanes <= part; k += Kind::lanes) put(done + k, Row::columns(row.at(at + k)));
    if (k < part) put(done + k, Row::columns(row.first(at + k, static_cast<int>(part - k))));
    done += part;
  }
  state = row;
}

// Adds the products of `count` columns, whole vectors, to the sums of `tile` weight rows and R batch rows. Meanwhile
// the same columns of the batch rows `ahead` elements further are fetched (0: none).
template <class Kind, int R, int size>
void add_chunk(const typename Kind::Stored (*weights)[size], const typename Kind::Stored* const* x, int64_t count,
               int64_t ahead, typename Kind::Sum (*sums)[chunk_rows]) {
  typename Kind::Sum own[R][tile];
  const typename Kind::Stored* rows_of_x[R];
  VIVACE_UNROLLED
  for (int r = 0; r < R; ++r) {
    rows_of_x[r] = x[r];
    VIVACE_UNROLLED
    for (int i = 0; i < tile; ++i) own[r][i] = Kind::load_sum(&sums[r][i]);
  }
  for (int64_t k = 0; k < count; k += Kind::lanes) {
    if (ahead != 0) {
      VIVACE_UNROLLED
      for (int r = 0; r < R; ++r) prefetch(rows_of_x[r] + ahead + k);
    }
    typename Kind::Vector w[tile];
    VIVACE_UNROLLED
    for (int i = 0; i < tile; ++i) w[i] = Kind::load_all(weights[i] + k);
    add_step<Kind, InOrder<typename Kind::Vector>, R>(w, rows_of_x, k, own);
  }
  VIVACE_UNROLLED
  for (int r = 0; r < R; ++r) {
    VIVACE_UNROLLED
    for (int i = 0; i < tile; ++i) Kind::save_sum(&sums[r][i], own[r][i]);
  }
}

// Outputs of `chunk_rows` weight rows and a block of batch rows.
template <class Row>
void through_chunks(const OpRun& run, int64_t n, int64_t first, int64_t batch_rows) {
  using Kind = typename Row::Kind;
  constexpr int size = Kind::chunk + Kind::lanes;
  const Tensor &x = run.inputs[0], &weight = run.inputs[1];
  const int64_t columns = weight.columns, stretch = stretch_of<Row>(columns);
  const int64_t ahead = row_tile * x.stride / static_cast<int64_t>(sizeof(typename Kind::Stored));
  alignas(64) typename Kind::Stored unpacked[chunk_rows][size];
  alignas(64) typename Kind::Sum sums[row_block][chunk_rows];
  for (int64_t row = 0; row < batch_rows; ++row)
    for (int i = 0; i < chunk_rows; ++i) sums[row][i] = Kind::none();
  Row rows[chunk_rows / tile][tile];
  for (int half = 0; half < chunk_rows / tile; ++half) start_rows(rows[half], weight, n + half * tile);
  Scales<chunk_rows> scales;
  load_scales<Row>(weight, n, scales);

  for (int64_t from = 0; from < columns; from += Kind::chunk) {
    const int64_t count = smaller(Kind::chunk, columns - from), whole = count / Kind::lanes * Kind::lanes;
    for (int i = 0; i < chunk_rows; ++i)
      unpack(rows[i / tile][i % tile], from, count, stretch,
             [&](int64_t k, typename Kind::Vector weights) { Kind::store_all(unpacked[i] + k, weights); });
    const auto multiply_rows = [&]<int R>(int64_t row) {
      const typename Kind::Stored* rows_of_x[R];
      for (int r = 0; r < R; ++r) rows_of_x[r] = Kind::row_of(x, first + row + r) + from;
      const auto part = [&](int i) { return reinterpret_cast<typename Kind::Sum(*)[chunk_rows]>(&sums[row][i]); };
      for (int i = 0; i < chunk_rows; i += tile)
        add_chunk<Kind, R>(unpacked + i, rows_of_x, whole, i == 0 ? ahead : 0, part(i));
      if (whole == count) return;
      const LastColumns<Kind, R> last(rows_of_x, whole, static_cast<int>(count - whole));
      for (int i = 0; i < chunk_rows; i += tile) {
        const auto* ends = reinterpret_cast<const typename Kind::Stored(*)[size]>(&unpacked[i][whole]);
        add_chunk<Kind, R>(ends, last.rows, Kind::lanes, 0, part(i));
      }
    };
    int64_t row = 0;
    for (; row + row_tile <= batch_rows; row += row_tile) multiply_rows.template operator()<row_tile>(row);
    for (; row < batch_rows; ++row) multiply_rows.template operator()<1>(row);
  }
  for (int64_t row = 0; row < batch_rows; ++row)
    for (int i = 0; i < chunk_rows && n + i < weight.rows; i += tile)
      finish_sums<Row>(run, first + row, n + i, &sums[row][i], scales.scale + i, scales.shift + i);
}

#if defined(VIVACE_PAIR_DOT)

// The same for weights that are multiplied with bytes, two rows with two rows at once.
template <class Row>
void through_pairs(const OpRun& run, int64_t n, int64_t first, int64_t batch_rows) {
  using Kind = typename Row::Kind;
  constexpr int size = 2 * (Kind::chunk + Kind::lanes), pairs = chunk_rows / 2, pair_tile = 8;
  const Tensor &x = run.inputs[0], &weight = run.inputs[1];
  const int64_t columns = weight.columns, stretch = stretch_of<Row>(columns);
  alignas(64) int8_t unpacked[pairs][size];
  PairSums sums[row_block / 2][pairs];
  std::memset(sums, 0, sizeof(sums));
  Row rows[chunk_rows / tile][tile];
  for (int half = 0; half < chunk_rows / tile; ++half) start_rows(rows[half], weight, n + half * tile);
  Scales<chunk_rows> scales;
  load_scales<Row>(weight, n, scales);

  for (int64_t from = 0; from < columns; from += Kind::chunk) {
    const int64_t count = smaller(Kind::chunk, columns - from), whole = count / Kind::lanes * Kind::lanes;
    for (int i = 0; i < chunk_rows; ++i)
      unpack(rows[i / tile][i % tile], from, count, stretch,
             [&](int64_t k, Bytes codes) { store_paired(unpacked[i / 2], k, i, codes); });
    const auto multiply_rows = [&]<int R>(int64_t row) {
      const int8_t *rows_of_x[R], *weights[pairs];
      for (int r = 0; r < R; ++r) rows_of_x[r] = Kind::row_of(x, first + row + r) + from;
      for (int w = 0; w < pairs; ++w) weights[w] = unpacked[w];
      add_pairs<pairs, R>(weights, rows_of_x, whole, R * x.stride, sums + row / 2);
      if (whole == count) return;
      const LastColumns<Kind, R> last(rows_of_x, whole, static_cast<int>(count - whole));
      for (int w = 0; w < pairs; ++w) weights[w] += 2 * whole;
      add_pairs<pairs, R>(weights, last.rows, Kind::lanes, 0, sums + row / 2);
    };
    int64_t row = 0;
    for (; row + pair_tile <= batch_rows; row += pair_tile) multiply_rows.template operator()<pair_tile>(row);
    for (; row + 2 <= batch_rows; row += 2) multiply_rows.template operator()<2>(row);
    if (row < batch_rows) multiply_rows.template operator()<1>(row);
  }
  for (int64_t row = 0; row < batch_rows; ++row)
    for (int i = 0; i < chunk_rows && n + i < weight.rows; i += tile) {
      int32_t totals[tile];
      const PairSums* of_tile = &sums[row / 2][i / 2];
      totals_of_pairs(totals, of_tile[0], of_tile[1], static_cast<int>(row % 2));
      finish_totals<Row>(run, first + row, n + i, totals, scales.scale + i, scales.shift + i);
    }
}

#endif

template <class Row>
void multiply(const OpRun& run, Team& team) {
  const int64_t rows = run.outputs[0].rows;
  if (rows <= row_tile) {
    for_units(run, team, tile, row_tile, [&](int64_t n, int64_t first, int64_t count) {
      if constexpr (row_tile > 2) {
        if (count == 4) return stream<Row, 4>(run, n, first);
        if (count == 3) return stream<Row, 3>(run, n, first);
      }
      return count == 2 ? stream<Row, 2>(run, n, first) : stream<Row, 1>(run, n, first);
    });
  } else {
    for_units(run, team, chunk_rows, block_of_rows(run.inputs[0].stride, row_block),
              [&](int64_t n, int64_t first, int64_t count) {
#if defined(VIVACE_PAIR_DOT)
                if constexpr (Row::bits_of_x == 8) return through_pairs<Row>(run, n, first, count);
#endif
                through_chunks<Row>(run, n, first, count);
              });
  }
}

}  // namespace

void row_scaled_linear(const OpRun& run, Team& team) {
  switch (run.inputs[1].dtype) {
    case DType::W8A16:
      return multiply<RowW8A16<0>>(run, team);
    case DType::W8A16_G32:
      return multiply<RowW8A16<32>>(run, team);
    case DType::W8A16_G64:
      return multiply<RowW8A16<64>>(run, team);
    case DType::W8A16_G128:
      return multiply<RowW8A16<128>>(run, team);
    case DType::W4A16:
      return multiply<RowW4A16<0>>(run, team);
    case DType::W4A16_G32:
      return multiply<RowW4A16<32>>(run, team);
    case DType::W4A16_G64:
      return multiply<RowW4A16<64>>(run, team);
    case DType::W4A16_G128:
      return multiply<RowW4A16<128>>(run, team);
    case DType::W8A8:
      return multiply<RowW8A8>(run, team);
    case DType::W4A8:
      return multiply<RowW4A8>(run, team);
    case DType::W4A8_G128:
      return multiply<RowW4A8Groups>(run, team);
    default:
      return;
  }
}

}  // namespace vivace::VIVACE_ISA
