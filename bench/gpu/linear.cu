// Times linear's kernels on a card, next to what the card's memory and tensor cores give at most. Needs nothing but the
// binary:
//   nvcc -std=c++20 -O3 -arch=native -DVIVACE_NO_KERNELS -I. -Icpp -o bench-linear bench/gpu/linear.cu \
//     cuda/ops/linear/*_linear.cu cuda/ops/linear/*/*_linear.cu cuda/quant/*.cu
//   ./bench-linear
// A line per shape: rows, in, out, type, microseconds, achieved and limit (GB/s of weights, or TOP/s), their ratio.
// With --choose: the table of cuda/ops/linear/choice.h for this card, and nothing else.
// Then what is aimed at: achieved, the aim, and yes or no. PyTorch's figures: bench/gpu/torch_peers.py.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "cuda/core/launch.h"
#include "cuda/core/mma.h"
#include "cuda/ops/linear/arguments.h"
#include "cuda/quant/fragments.h"

namespace vivace::cuda {
namespace {

constexpr int64_t arena_bytes = int64_t{1} << 30;  // beyond every second-level cache

__global__ void copy_memory(const uint4* from, uint4* to, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) to[i] = from[i];
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
  for (int i = 0; i < turns; ++i)
#pragma unroll
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

struct Timer {
  cudaEvent_t begin, end;
  Timer() {
    check(cudaEventCreate(&begin), "cudaEventCreate");
    check(cudaEventCreate(&end), "cudaEventCreate");
  }
  // Median seconds of one of `calls` calls, nine times; call(i) has its number.
  template <class Call>
  double seconds(int calls, Call&& call) {
    std::vector<double> all;
    for (int turn = 0; turn < 10; ++turn) {
      check(cudaEventRecord(begin), "cudaEventRecord");
      for (int i = 0; i < calls; ++i) call(i);
      check(cudaEventRecord(end), "cudaEventRecord");
      check(cudaEventSynchronize(end), "cudaEventSynchronize");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
      if (turn > 0) all.push_back(milliseconds / 1000.0 / calls);  // the first one warms up
    }
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
  }
};

struct Limits {
  double bytes, f16, s8;  // per second
};

Limits measure_limits(Timer& timer, uint8_t* arena, int multiprocessors) {
  const int64_t half = arena_bytes / 2;
  const double copy = timer.seconds(4, [&](int) {
    launch<copy_memory>(Launch{dim3(static_cast<unsigned>(multiprocessors * 16)), dim3(512)},
                        reinterpret_cast<const uint4*>(arena), reinterpret_cast<uint4*>(arena + half), half / 16);
  });
  const int turns = 4096;
  const Launch full{dim3(static_cast<unsigned>(multiprocessors * 2)), dim3(256)};
  const double products = 8.0 * turns * 8 * multiprocessors * 2;
  const double f16 =
      timer.seconds(2, [&](int) { launch<multiply_always<false>>(full, reinterpret_cast<float*>(arena), turns); });
  const double s8 =
      timer.seconds(2, [&](int) { launch<multiply_always<true>>(full, reinterpret_cast<float*>(arena), turns); });
  return {arena_bytes / copy, products * 2 * 16 * 8 * 16 / f16, products * 2 * 16 * 8 * 32 / s8};
}

struct Card {
  Timer& timer;
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
  auto& [timer, arena, tickets, multiprocessors, limits] = card;
  const int64_t stride = row_bytes(dtype, columns), x_stride = row_bytes(activations_for(dtype), columns);
  const bool fragments = !stored && has_fragments(dtype, columns);
  const int64_t kept = fragments ? fragment_bytes(dtype, out, columns) : out * stride;
  const int64_t weight_bytes = (kept + 511) / 256 * 256;
  const int64_t copies =
      std::max<int64_t>(1, std::min<int64_t>(32, (arena_bytes - (int64_t{256} << 20)) / weight_bytes));
  uint8_t* x = arena + copies * weight_bytes;
  uint8_t* behind = x + (rows * x_stride + 511) / 256 * 256;
  auto* y = reinterpret_cast<float*>(behind);
  uint8_t* scratch = behind + (int64_t{rows} * out * 4 + 511) / 256 * 256;
  // Another copy of the weight each time: none is in a cache.
  return timer.seconds(static_cast<int>(copies), [&](int i) {
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

// The table of cuda/ops/linear/choice.h as this card has it: the first number of rows from which on tiles were faster.
void print_choices(const Card& card) {
  for (const TileChoice& choice : tile_choices) {
    int from = never_tiled;
    for (const int rows : {512, 256, 128, 96, 64, 48, 33, 24, 17, 9}) {
      const double few = time_linear(card, choice.dtype, rows, 4096, 4096, true, Serve::few_rows);
      if (time_linear(card, choice.dtype, rows, 4096, 4096, true, Serve::tiles) > few) break;
      from = rows;
    }
    std::printf("    {DType::%s, %d},\n", find_dtype(choice.dtype)->name, from);
  }
}

void print_aim(const char* what, double reached, double aim, bool at_least) {
  std::printf("%-66s %9.2f, %s %.2f: %s\n", what, reached, at_least ? "at least" : "at most", aim,
              (at_least ? reached >= aim : reached <= aim) ? "yes" : "no");
}

// What the kernels are meant to reach; figures of one shape each.
void check_aims(const Card& card) {
  char what[128];
  std::printf("\n");
  for (const DType dtype : {DType::W4A16_G128, DType::Q4_0, DType::Q4_K})
    for (const int size : {4096, 8192}) {
      const double share = time_shape(card, dtype, 1, size, size).weights / card.limits.bytes;
      std::snprintf(what, sizeof(what), "%s, 1 row, %d: share of a copy's bandwidth", find_dtype(dtype)->name, size);
      print_aim(what, share, 0.8, true);
    }
  for (const DType dtype : {DType::Q4_0, DType::Q4_K, DType::Q6_K, DType::Q8_0}) {
    const double one = time_shape(card, dtype, 1, 4096, 14336).seconds;
    std::snprintf(what, sizeof(what), "%s, 4096 to 14336: time of 16 rows over that of 1", find_dtype(dtype)->name);
    print_aim(what, time_shape(card, dtype, 16, 4096, 14336).seconds / one, 1.3, false);
  }
  for (const int out : {4096, 14336}) {
    const double one = time_shape(card, DType::W4A16_G128, 1, 4096, out).seconds;
    const double sixteen = time_shape(card, DType::W4A16_G128, 16, 4096, out).seconds;
    std::snprintf(what, sizeof(what), "W4A16_G128, 4096 to %d: time of 16 rows over that of 1", out);
    print_aim(what, sixteen / one, 1.3, false);
    for (const int rows : {1, 8, 16, 32}) {
      const double four = time_shape(card, DType::W4A16_G128, rows, 4096, out).seconds;
      const double halves = time_shape(card, DType::F16, rows, 4096, out).seconds;
      std::snprintf(what, sizeof(what), "W4A16_G128, 4096 to %d, %d rows: times as fast as F16", out, rows);
      print_aim(what, halves / four, 3, true);
    }
  }
  for (const DType dtype : {DType::W8A8, DType::W4A8, DType::W4A8_G128})
    for (const int rows : {256, 1024}) {
      const double share = time_shape(card, dtype, rows, 4096, 4096).operations / card.limits.s8;
      std::snprintf(what, sizeof(what), "%s, %d rows: share of int8 products' peak", find_dtype(dtype)->name, rows);
      print_aim(what, share, 0.6, true);
    }
  for (const DType dtype : {DType::F16, DType::BF16}) {
    const double reached = time_shape(card, dtype, 4096, 4096, 4096).operations;
    std::printf("%s 4096 x 4096 x 4096: %.1f TFLOP/s of %.1f, %.2f\n", find_dtype(dtype)->name, reached / 1e12,
                card.limits.f16 / 1e12, reached / card.limits.f16);
  }
}

void run(bool choose) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  uint8_t* arena = nullptr;
  check(cudaMalloc(&arena, arena_bytes), "cudaMalloc");
  launch<fill_randomly>(Launch{dim3(1024), dim3(256)}, reinterpret_cast<uint32_t*>(arena), arena_bytes / 4);
  uint32_t* tickets = nullptr;
  check(cudaMalloc(&tickets, linear_tickets * 4), "cudaMalloc");
  check(cudaMemset(tickets, 0, linear_tickets * 4), "cudaMemset");
  Timer timer;
  const Limits limits = measure_limits(timer, arena, properties.multiProcessorCount);
  std::printf("%s: copy %.0f GB/s, mma f16 %.0f TFLOP/s, int8 %.0f TOP/s\n", properties.name, limits.bytes / 1e9,
              limits.f16 / 1e12, limits.s8 / 1e12);
  const Card card{timer, arena, tickets, properties.multiProcessorCount, limits};
  if (choose) return print_choices(card);
  const DType few[] = {DType::W4A16_G128, DType::Q4_0, DType::Q4_K,      DType::Q6_K, DType::Q8_0,
                       DType::W8A16_G128, DType::W8A8, DType::W4A8_G128, DType::F16};
  for (const DType dtype : few)
    for (const int rows : {1, 2, 4, 8, 16, 32})
      for (const int out : {4096, 14336}) time_shape(card, dtype, rows, 4096, out);
  for (const DType dtype :
       {DType::F16, DType::BF16, DType::W8A8, DType::W4A8, DType::W4A8_G128, DType::Q4_K, DType::W4A16_G128})
    for (const int rows : {64, 256, 1024, 4096}) time_shape(card, dtype, rows, 4096, 4096);
  check_aims(card);
  check(cudaFree(tickets), "cudaFree");
  check(cudaFree(arena), "cudaFree");
}

}  // namespace
}  // namespace vivace::cuda

int main(int count, char** words) {
  try {
    vivace::cuda::run(count > 1 && std::strcmp(words[1], "--choose") == 0);
    return 0;
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}
