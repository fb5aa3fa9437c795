// Times linear's kernels on a card, next to what the card's memory and tensor cores give at most. scripts/gpu/bench.mjs
// builds and runs it; it needs nothing but the binary.
// A line per shape: rows, in, out, type, microseconds, achieved and limit (GB/s of weights, or TOP/s), their ratio.
// With --choose: the tables of cuda/ops/linear/choice.h for this card, and nothing else.
// Then what is aimed at: achieved, the aim, and yes or no. PyTorch's figures: bench/gpu/torch_peers.py.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "bench/gpu/measure.h"
#include "cuda/core/launch.h"
#include "cuda/core/mma.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/linear/arguments.h"
#include "cuda/quant/fragments.h"

namespace vivace::cuda {
namespace {

// Beyond every second-level cache.
int64_t arena_bytes() {
  return sized(int64_t{1} << 30, int64_t{4} << 20);
}

// Weights of zeros would take less power, and clocks would rise.
__global__ void fill_randomly(uint32_t* to, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    uint32_t word = static_cast<uint32_t>(i) * 2654435761u;
    word = (word ^ word >> 15) * 2246822519u;
    to[i] = (word ^ word >> 13) & 0xbfffbfffu;  // no infinities or NaN, as numbers of 16 or 32 bits
  }
}

// Eight independent products per warp and turn.
template <bool bytes>
__global__ void multiply_always(float* out, int turns) {
  const uint32_t a[4] = {threadIdx.x, 1, 2, 3}, b[2] = {threadIdx.x, 5};
  int whole[8][4] = {};
  float sums[8][4] = {};
  for (int i = 0; i < turns; ++i) UNROLL
  for (int j = 0; j < 8; ++j) {
    if constexpr (bytes)
      multiply_s8(whole[j], a, b);
    else
      multiply_f16(sums[j], a, b);
  }
  float all = 0;
  for (int j = 0; j < 8; ++j) all += sums[j][0] + static_cast<float>(whole[j][0]);
  out[blockIdx.x * blockDim.x + threadIdx.x] = all;
}

struct Limits {
  double bytes, f16, s8;  // per second
};

Limits measure_limits(uint8_t* arena, int multiprocessors) {
  const double copy = copy_rate(reinterpret_cast<std::byte*>(arena), arena_bytes(), multiprocessors);
  const int turns = sized(4096, 2);
  const Launch full{dim3(static_cast<unsigned>(multiprocessors * 2)), dim3(256)};
  const double products = 8.0 * turns * 8 * multiprocessors * 2;
  const double f16 =
      seconds_of(2, [&](int) { launch<multiply_always<false>>(full, reinterpret_cast<float*>(arena), turns); });
  const double s8 =
      seconds_of(2, [&](int) { launch<multiply_always<true>>(full, reinterpret_cast<float*>(arena), turns); });
  return {copy, products * 2 * 16 * 8 * 16 / f16, products * 2 * 16 * 8 * 32 / s8};
}

struct Card {
  uint8_t* arena;
  uint32_t* tickets;
  int multiprocessors;
  Limits limits;
};

struct Figures {
  double seconds, weights, operations;  // weights: bytes per second; operations: per second
};

// `stored`: weights as they are in files, by the kernel that `serve` says.
double time_linear(const Card& card, DType dtype, int rows, int columns, int out, bool stored, Serve serve) {
  auto& [arena, tickets, multiprocessors, limits] = card;
  const int64_t stride = row_bytes(dtype, columns), x_stride = row_bytes(activations_for(dtype), columns);
  const bool fragments = !stored && has_fragments(dtype, columns);
  const int64_t kept = fragments ? fragment_bytes(dtype, out, columns) : out * stride;
  const int64_t weight_bytes = (kept + 511) / 256 * 256;
  const int64_t copies = std::max<int64_t>(
      1, std::min<int64_t>(sized(32, 1), (arena_bytes() - sized(int64_t{256} << 20, int64_t{2} << 20)) / weight_bytes));
  uint8_t* x = arena + copies * weight_bytes;
  uint8_t* behind = x + (rows * x_stride + 511) / 256 * 256;
  auto* y = reinterpret_cast<float*>(behind);
  uint8_t* scratch = behind + (int64_t{rows} * out * 4 + 511) / 256 * 256;
  const size_t room = fragments ? linear_scratch(dtype, rows, {out}, columns, multiprocessors, false, serve) : 0;
  if (scratch + room > arena + arena_bytes()) throw Error("INTERNAL", "the arena is too small for this shape");
  // Another copy of the weight each time: none is in a cache.
  return seconds_of(static_cast<int>(copies), [&](int i) {
    LinearArguments arguments{dtype,          arena + i * weight_bytes,
                              stride,         x,
                              x_stride,       y,
                              nullptr,        nullptr,
                              rows,           out,
                              columns,        fragments,
                              scratch,        tickets,
                              multiprocessors};
    arguments.serve = serve;
    if (!fast_linear(arguments, nullptr)) throw Error("INTERNAL", "no kernel takes this shape");
  });
}

Figures time_shape(const Card& card, DType dtype, int rows, int columns, int out) {
  const Limits& limits = card.limits;
  const double seconds = time_linear(card, dtype, rows, columns, out, false, Serve::by_table);
  const int64_t stride = row_bytes(dtype, columns);
  const double operations = 2.0 * rows * columns * out, bytes = static_cast<double>(out * stride);
  const bool whole = activations_for(dtype) != DType::F32;
  const double peak = whole ? limits.s8 : limits.f16;
  const bool by_memory = bytes / limits.bytes > operations / peak;
  const double reached = (by_memory ? bytes : operations) / seconds, limit = by_memory ? limits.bytes : peak;
  const double unit = by_memory ? 1e9 : 1e12;
  std::printf("%5d %6d %6d  %-11s %9.2f us  %8.1f of %8.1f %s  %.2f\n", rows, columns, out, find_dtype(dtype)->name,
              seconds * 1e6, reached / unit, limit / unit, by_memory ? "GB/s" : "TOP/s", reached / limit);
  return {seconds, bytes / seconds, operations / seconds};
}

// The first number of rows from which on the second kernel was as fast as the first one, or faster.
std::string rows_from(const Card& card, DType dtype, int out, bool stored, const std::vector<int>& descending) {
  const int columns = sized(4096, 256);
  std::string from = "never";
  for (const int rows : descending) {
    const double few = time_linear(card, dtype, rows, columns, out, stored, Serve::few_rows);
    if (time_linear(card, dtype, rows, columns, out, stored, Serve::tiles) > few) break;
    from = std::to_string(rows);
  }
  return from;
}

// The tables of cuda/ops/linear/choice.h as this card has them; scripts/gpu/bench.mjs --choose writes them there.
void print_choices(const Card& card) {
  const int wide = sized(4096, 64), narrow = wide / 4;
  const auto line = [](const char* table, DType dtype, const std::string& numbers) {
    std::printf("ROW %s {DType::%s, %s},\n", table, find_dtype(dtype)->name, numbers.c_str());
    std::fflush(stdout);
  };
  const auto rows = tiny ? std::vector<int>{33} : std::vector<int>{512, 256, 128, 96, 64, 48, 33, 24, 17, 9};
  for (const TileChoice& choice : tile_choices)
    line("tile_choices", choice.dtype, rows_from(card, choice.dtype, wide, true, rows));
  const auto many = tiny ? std::vector<int>{65} : std::vector<int>{2048, 1024, 768, 512, 384, 256, 192, 128, 65};
  for (const UnpackChoice& choice : unpack_choices) {
    const std::string of_narrow = rows_from(card, choice.dtype, narrow, false, many);
    line("unpack_choices", choice.dtype, of_narrow + ", " + rows_from(card, choice.dtype, wide, false, many));
  }
}

// Types that are decoded once for many rows of x: the time of that over the time of decoding in every tile.
void compare_unpacked(const Card& card) {
  const int columns = sized(4096, 256);
  for (const UnpackChoice& choice : unpack_choices)
    for (const int rows : tiny ? std::vector<int>{65} : std::vector<int>{128, 256, 512, 1024})
      for (const int out : {sized(1024, 16), sized(4096, 64)}) {
        const double often = time_linear(card, choice.dtype, rows, columns, out, false, Serve::few_rows);
        const double once = time_linear(card, choice.dtype, rows, columns, out, false, Serve::tiles);
        const std::string what = std::string(find_dtype(choice.dtype)->name) + ", " + std::to_string(columns) + " to " +
                                 std::to_string(out) + ", " + std::to_string(rows) + " rows";
        print_figure(what + ": time decoded once over decoded in every tile", once / often, "");
      }
}

// What the kernels are meant to reach; figures of one shape each.
void check_aims(const Card& card) {
  const auto name = [](DType dtype) { return std::string(find_dtype(dtype)->name); };
  const auto shape = [](int columns, int out) { return std::to_string(columns) + " to " + std::to_string(out); };
  const auto [bytes, f16, s8] = card.limits;
  const int width = sized(4096, 256), inner = sized(14336, 512);
  std::printf("\n");
  for (const DType dtype : {DType::W4A16_G128, DType::Q4_0, DType::Q4_K})
    for (const int size : {width, 2 * width}) {
      const double reached = time_shape(card, dtype, 1, size, size).weights;
      print_bar(name(dtype) + ", 1 row, " + shape(size, size) + ": share of a copy's bandwidth", reached / 1e9,
                bytes / 1e9, "GB/s", reached / bytes, 0.8, true);
    }
  const auto compare = [&](DType dtype, int out) {
    const double one = time_shape(card, dtype, 1, width, out).seconds;
    const double many = time_shape(card, dtype, 16, width, out).seconds;
    print_bar(name(dtype) + ", " + shape(width, out) + ": time of 16 rows over that of 1", many * 1e6, one * 1e6, "us",
              many / one, 1.3, false);
  };
  for (const DType dtype : {DType::Q4_0, DType::Q4_K, DType::Q6_K, DType::Q8_0}) compare(dtype, inner);
  for (const int out : {width, inner}) {
    compare(DType::W4A16_G128, out);
    for (const int rows : {1, 8, 16, 32}) {
      const double four = time_shape(card, DType::W4A16_G128, rows, width, out).seconds;
      const double halves = time_shape(card, DType::F16, rows, width, out).seconds;
      print_bar("W4A16_G128, " + shape(width, out) + ", " + std::to_string(rows) + " rows: times as fast as F16",
                four * 1e6, halves * 1e6, "us", halves / four, 3.3, true);
    }
  }
  for (const DType dtype : {DType::W8A8, DType::W4A8, DType::W4A8_G128})
    for (const int rows : {sized(256, 32), sized(1024, 64)}) {
      const double reached = time_shape(card, dtype, rows, width, width).operations;
      print_bar(name(dtype) + ", " + std::to_string(rows) + " rows: share of int8 products' peak", reached / 1e12,
                s8 / 1e12, "TOP/s", reached / s8, 0.6, true);
    }
  for (const DType dtype : {DType::F16, DType::BF16}) {
    const double reached = time_shape(card, dtype, sized(4096, 72), width, width).operations;
    print_figure("matmul " + name(dtype), reached / 1e12, "TFLOP/s");
    std::printf("%s: %.2f of the products' peak\n", name(dtype).c_str(), reached / f16);
  }
}

void run(bool choose) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  uint8_t* arena = nullptr;
  check(cudaMalloc(&arena, arena_bytes()), "cudaMalloc");
  launch<fill_randomly>(Launch{dim3(1024), dim3(256)}, reinterpret_cast<uint32_t*>(arena), arena_bytes() / 4);
  uint32_t* tickets = nullptr;
  check(cudaMalloc(&tickets, linear_tickets * 4), "cudaMalloc");
  check(cudaMemset(tickets, 0, linear_tickets * 4), "cudaMemset");
  const Limits limits = measure_limits(arena, properties.multiProcessorCount);
  std::printf("%s: copy %.0f GB/s, mma f16 %.0f TFLOP/s, int8 %.0f TOP/s\n", properties.name, limits.bytes / 1e9,
              limits.f16 / 1e12, limits.s8 / 1e12);
  print_figure("copy bandwidth", limits.bytes / 1e9, "GB/s");
  print_figure("int8 products' peak", limits.s8 / 1e12, "TOP/s");
  const Card card{arena, tickets, properties.multiProcessorCount, limits};
  if (choose) return print_choices(card);
  const DType few[] = {DType::W4A16_G128, DType::Q4_0, DType::Q4_K,      DType::Q6_K, DType::Q8_0,
                       DType::W8A16_G128, DType::W8A8, DType::W4A8_G128, DType::F16};
  const std::vector<int> rows_of_few = tiny ? std::vector<int>{1, 8} : std::vector<int>{1, 2, 4, 8, 16, 32};
  const std::vector<int> rows_of_many = tiny ? std::vector<int>{40} : std::vector<int>{64, 256, 1024, 4096};
  const int width = sized(4096, 256);
  for (const DType dtype : few)
    for (const int rows : rows_of_few)
      for (const int out : {width, sized(14336, 512)}) time_shape(card, dtype, rows, width, out);
  for (const DType dtype :
       {DType::F16, DType::BF16, DType::W8A8, DType::W4A8, DType::W4A8_G128, DType::Q4_K, DType::W4A16_G128})
    for (const int rows : rows_of_many) time_shape(card, dtype, rows, width, width);
  compare_unpacked(card);
  check_aims(card);
  check(cudaFree(tickets), "cudaFree");
  check(cudaFree(arena), "cudaFree");
}

}  // namespace
}  // namespace vivace::cuda

int main(int count, char** words) {
  return vivace::cuda::run_bench(count, words, [](bool choose) { vivace::cuda::run(choose); });
}
