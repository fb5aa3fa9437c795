// Weights that are decoded once for many rows of x: pieces against dequantised rows, products against the kernel for
// weights in fragments, bit by bit, also of several matrices and of gates. Memory is full of NaN before.
// Prints a line per type: `ok unpacked name` or `FAILED …: why`. linear.cu has main: both need the same kernels.
#include <cmath>
#include <cstring>
#include <random>

#include "core/simd/half.h"
#include "cuda/ops/linear/fragments/unpacked/unpacked.h"
#include "cuda/quant/fragments.h"
#include "ops/linear/a8.h"
#include "quant/registry.h"
#include "test/cuda/report.h"

namespace vivace::cuda {
namespace {

using Bytes = std::vector<uint8_t>;

std::mt19937 generator(5);

std::vector<float> random_values(int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

// Rows in fragments, and what they are.
struct Weight {
  DeviceArray<uint8_t> fragments;
  std::vector<float> values;

  Weight(DType dtype, int out, int columns)
      : fragments(Bytes(static_cast<size_t>(fragment_bytes(dtype, out, columns)), 0xff)) {
    const QuantType& type = *find_quant(dtype);
    const int64_t size = row_bytes(dtype, columns);
    values = random_values(int64_t{out} * columns);
    Bytes stored(static_cast<size_t>(size * out));
    for (int64_t n = 0; n < out; ++n) {
      auto* row = reinterpret_cast<std::byte*>(stored.data() + n * size);
      type.quantize_row(values.data() + n * columns, row, columns);
      type.dequantize_row(row, values.data() + n * columns, columns);
    }
    stored.resize((stored.size() + 511) / 256 * 256);
    const DeviceArray<uint8_t> from(stored);
    to_fragments(dtype, from.get(), fragments.get(), out, columns, nullptr);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
};

Bytes random_blocks(int rows, int columns) {
  std::vector<A8Block> blocks(static_cast<size_t>(rows * columns / 32));
  std::uniform_int_distribution<int> code(-127, 127);
  std::uniform_real_distribution<float> scale(0.001f, 0.1f);
  for (A8Block& block : blocks) {
    block = {};
    block.scale = scale(generator);
    int sums[3] = {};
    for (int i = 0; i < 32; ++i) {
      block.codes[i] = static_cast<int8_t>(code(generator));
      sums[i / 16] += block.codes[i];
      sums[2] += block.codes[i];
    }
    for (int i = 0; i < 3; ++i) {
      block.minus_sums[i] = -sums[i];
      block.scaled_sums[i] = static_cast<float>(sums[i]) * block.scale;
    }
  }
  Bytes bytes(blocks.size() * sizeof(A8Block));
  std::memcpy(bytes.data(), blocks.data(), bytes.size());
  return bytes;
}

template <class T>
bool same_bits(const DeviceArray<T>& a, const DeviceArray<T>& b) {
  const std::vector<T> left = a.values(), right = b.values();
  return std::memcmp(left.data(), right.data(), left.size() * sizeof(T)) == 0;
}

struct Case {
  DType dtype;
  int rows, out, columns, multiprocessors;
  int64_t budget;
};

// Pieces of all strips but the first one.
std::string compare_pieces(DType dtype, int out, int columns) {
  const Weight weight(dtype, out, columns);
  const PieceLayout layout = piece_layout(dtype);
  const int pieces = columns / 32, strips = (out + 15) / 16;
  const DeviceArray<uint8_t> unpacked(Bytes(static_cast<size_t>((strips - 1) * pieces * layout.bytes()), 0xff));
  unpack_strips(dtype, weight.fragments.get(), 1, strips - 1, columns, unpacked.get(), nullptr);
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  const Bytes bytes = unpacked.values();
  for (int n = 16; n < out; ++n)
    for (int k = 0; k < columns; ++k) {
      // Which number of which product the column is.
      int p = 0, place = 0;
      for (int i = 0; i < 32; ++i)
        if (piece_column(layout.parts == 2, i / 16, i % 16 / 2 * 2) + i % 2 == k % 32) p = i / 16, place = i % 16;
      const uint8_t* piece = bytes.data() + static_cast<size_t>(((n / 16 - 1) * pieces + k / 32) * layout.bytes());
      const int lane = n % 8 * 4 + place % 8 / 2, word = n % 16 / 8 + place / 8 * 2;
      uint16_t code = 0;
      std::memcpy(&code, piece + 512 * p + 16 * lane + 4 * word + 2 * (place % 2), 2);
      float scale = 0, min = 0;
      const uint8_t* number = piece + PieceLayout::code_bytes + 64 * (layout.parts == 2 ? p : 0) + 4 * (n % 16);
      std::memcpy(&scale, number, 4);
      if (layout.has_min) std::memcpy(&min, number + 64 * layout.parts, 4);
      const float wanted = weight.values[static_cast<size_t>(n * columns + k)];
      const float found = f32_from_f16(code) * scale + min;
      if (!(std::fabs(found - wanted) <= 1e-6f * (std::fabs(wanted) + std::fabs(min))))
        return "weight " + std::to_string(n) + ", " + std::to_string(k) + " is " + std::to_string(found) + ", not " +
               std::to_string(wanted);
    }
  return "";
}

std::string compare(const Case& c, bool joined, bool gated) {
  const Weight weight(c.dtype, c.out, c.columns), other(c.dtype, c.out, c.columns);
  const DeviceArray<uint8_t> x(random_blocks(c.rows, c.columns));
  const int64_t count = int64_t{c.rows} * c.out;
  const DeviceArray<float> bias(random_values(c.out)), residual(random_values(count));
  const int part = c.out / 2 + 1;
  std::vector<int> outs = {c.out};
  if (joined) outs.insert(outs.end(), {part, c.out});
  size_t bytes = plan_unpacked(c.dtype, c.rows, outs, c.columns, c.multiprocessors, gated, c.budget).bytes;
  bytes = std::max(bytes, linear_scratch(c.dtype, c.rows, outs, c.columns, c.multiprocessors, gated));
  const DeviceArray<uint8_t> scratch(Bytes(bytes, 0xff));
  const DeviceArray<uint32_t> tickets(std::vector<uint32_t>(linear_tickets, 0));
  struct Results {
    DeviceArray<float> y, second, third;
    DeviceArray<uint8_t> blocks;
  };
  const std::vector<float> poison(static_cast<size_t>(count), std::nanf(""));
  const Bytes codes(static_cast<size_t>(count * 2), 0xff);
  const Results fused{DeviceArray<float>(poison), DeviceArray<float>(poison), DeviceArray<float>(poison),
                      DeviceArray<uint8_t>(codes)},
      unpacked{DeviceArray<float>(poison), DeviceArray<float>(poison), DeviceArray<float>(poison),
               DeviceArray<uint8_t>(codes)};
  const auto arguments_for = [&](const Results& to, bool quantised) {
    LinearArguments a{c.dtype,
                      weight.fragments.get(),
                      0,
                      x.get(),
                      row_bytes(DType::A8, c.columns),
                      to.y.get(),
                      gated ? nullptr : bias.get(),
                      gated ? nullptr : residual.get(),
                      c.rows,
                      c.out,
                      c.columns,
                      true,
                      scratch.get(),
                      tickets.get(),
                      c.multiprocessors};
    a.serve = Serve::few_rows;
    if (joined) {
      a.others[0] = {other.fragments.get(), to.second.get(), nullptr, nullptr, part};
      a.others[1] = {weight.fragments.get(), to.third.get(), bias.get(), nullptr, c.out};
      a.other_count = 2;
    }
    if (gated) {
      a.gating.up = other.fragments.get();
      a.gating.gelu = quantised;
      if (quantised) a.gating.y = reinterpret_cast<A8Block*>(to.blocks.get());
    }
    return a;
  };
  for (const bool quantised : {false, true}) {
    if (quantised && !gated) break;
    if (!fragment_linear(arguments_for(fused, quantised), nullptr)) return "the kernel for fragments does not take it";
    if (!unpacked_linear(arguments_for(unpacked, quantised), nullptr, c.budget)) return "the kernel does not take it";
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  const std::vector<float> y = unpacked.y.values();
  for (const float value : y)
    if (std::isnan(value)) return "a value was not written";
  if (!same_bits(fused.y, unpacked.y)) return "other bits";
  if (!same_bits(fused.second, unpacked.second) || !same_bits(fused.third, unpacked.third)) return "joined: other bits";
  return same_bits(fused.blocks, unpacked.blocks) ? "" : "quantised gates: other bits";
}

std::string compare_type(DType dtype, int turn) {
  const auto whole = [&](int columns) {
    const int block = find_dtype(dtype)->block;
    return (columns + block - 1) / block * block;
  };
  const bool small = turn % 2 == 0;  // the larger tile, and all in one pass
  const auto named = [](const char* what, const std::string& why) { return why.empty() ? why : what + why; };
  std::string why = named("pieces: ", compare_pieces(dtype, 37, whole(160)));
  // More than a slice of k; two passes, the last one short.
  if (why.empty()) why = named("one: ", compare({dtype, 50, 141, whole(1024 + 96), 132, 0}, false, false));
  if (why.empty())
    why = named("joined: ", compare({dtype, small ? 130 : 66, 40, whole(96), small ? 1 : 132, 1 << 20}, true, false));
  if (why.empty())
    why = named("gated: ",
                compare({dtype, small ? 66 : 130, 96, whole(160), small ? 132 : 1, small ? 0 : 1 << 20}, false, true));
  return why;
}

// What the table has room planned for, by the rule that launches go by.
std::string compare_room() {
  const int multiprocessors = 132, columns = 4096, rows = 512;
  const auto room = [&](DType dtype, int out, int count) {
    return linear_scratch(dtype, count, {out}, columns, multiprocessors);
  };
  for (const UnpackChoice& choice : unpack_choices) {
    const int from = unpacked_from(choice.dtype, wide_rows);
    if (unpacked_from(choice.dtype, wide_rows - 1) != choice.narrow || from != choice.wide)
      return "the class of a shape";
    if (from == never) continue;
    const auto planned = [&](int count) {
      return plan_unpacked(choice.dtype, count, {wide_rows}, columns, multiprocessors, false, unpacked_budget).bytes;
    };
    if (room(choice.dtype, wide_rows, from) != planned(from)) return "too little room from the first number of rows on";
    if (room(choice.dtype, wide_rows, from - 1) == planned(from - 1)) return "room below it";
    // However large the matrix is: x and its numbers, and the budget.
    const int64_t most = unpacked_budget + int64_t{rows} * (columns * 2 + columns / 32 * 12) + 1024;
    const UnpackedPlan large =
        plan_unpacked(choice.dtype, rows, {151936}, columns, multiprocessors, true, unpacked_budget);
    if (static_cast<int64_t>(large.bytes) > most) return "more than the budget";
  }
  return "";
}

}  // namespace

int check_unpacked();
int check_unpacked() {
  return run_checks([] {
    const std::string room = compare_room();
    report("unpacked room", room.empty(), room);
    int turn = 0;
    for (const DTypeInfo& info : dtype_table) {
      if (block_layout(info.id).bits == 0) continue;
      const std::string why = compare_type(info.id, turn++);
      report((std::string("unpacked ") + info.name).c_str(), why.empty(), why);
    }
  });
}

}  // namespace vivace::cuda
