// What kernels compute with, against definitions written out here: exchange within warps for any mask and width, dot
// products of bytes, 16-bit floats, random numbers. Emulated or on a card.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "cuda/core/launch.h"
#include "cuda/core/random.h"
#include "decode/philox.h"
#include "test/cuda/report.h"

namespace vivace::cuda {
namespace {

std::mt19937 numbers(7);

template <class T>
T bits_as(uint32_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// One round per block: lanes of the mask exchange, the others do nothing.
struct Round {
  unsigned mask;
  int width, source, delta;
};
constexpr int exchanges = 13;

__global__ void exchange(const Round* rounds, const int* values, int* out) {
  const Round round = rounds[blockIdx.x];
  const int lane = static_cast<int>(threadIdx.x);
  if ((round.mask >> lane & 1) == 0) return;
  const unsigned mask = round.mask;
  const int value = values[blockIdx.x * 32 + threadIdx.x];
  int* to = out + (blockIdx.x * 32 + threadIdx.x) * exchanges;
  // With a lane missing only sources that are there may be read.
  const bool all = mask == 0xffffffffu;
  const int source = all ? round.source + lane : __ffs(static_cast<int>(mask)) - 1;
  to[0] = __shfl_sync(mask, value, source, all ? round.width : 32);
  to[1] = all ? __shfl_up_sync(mask, value, static_cast<unsigned>(round.delta), round.width) : 0;
  to[2] = all ? __shfl_down_sync(mask, value, static_cast<unsigned>(round.delta), round.width) : 0;
  to[3] = all ? __shfl_xor_sync(mask, value, round.delta, round.width) : 0;
  to[4] = static_cast<int>(__ballot_sync(mask, value & 1));
  to[5] = __any_sync(mask, value < -20) + 2 * __all_sync(mask, value < 20);
  to[6] = __reduce_add_sync(mask, value);
  to[7] = __reduce_min_sync(mask, value);
  to[8] = __reduce_max_sync(mask, value);
  to[9] = static_cast<int>(__reduce_and_sync(mask, static_cast<unsigned>(value) | 0xff00u));
  to[10] = static_cast<int>(__reduce_or_sync(mask, static_cast<unsigned>(value)));
  to[11] = static_cast<int>(__reduce_xor_sync(mask, static_cast<unsigned>(value)));
  to[12] = static_cast<int>(__match_any_sync(mask, value));
}

// The same for one lane, from all values of the warp.
std::vector<int> expected(const Round& round, const int* values, int lane) {
  const bool all = round.mask == 0xffffffffu;
  const int width = round.width, base = lane / width * width, value = values[lane];
  int first = 0;
  while ((round.mask >> first & 1) == 0) ++first;
  std::vector<int> out(exchanges);
  out[0] = all ? values[base + (round.source + lane) % width] : values[first];
  if (all) {
    out[1] = lane - round.delta >= base ? values[lane - round.delta] : value;
    out[2] = lane + round.delta < base + width ? values[lane + round.delta] : value;
    out[3] = (lane ^ round.delta) < base + width ? values[lane ^ round.delta] : value;
  }
  unsigned odd = 0, same = 0, conjunction = ~0u, disjunction = 0, parity = 0;
  int below = 0, under = 2, sum = 0, least = INT32_MAX, most = INT32_MIN;
  for (int i = 0; i < 32; ++i) {
    if ((round.mask >> i & 1) == 0) continue;
    const int one = values[i];
    odd |= (static_cast<unsigned>(one) & 1) << i;
    same |= static_cast<unsigned>(one == value) << i;
    if (one < -20) below = 1;
    if (one >= 20) under = 0;
    sum += one;
    least = one < least ? one : least;
    most = one > most ? one : most;
    conjunction &= static_cast<unsigned>(one) | 0xff00u;
    disjunction |= static_cast<unsigned>(one);
    parity ^= static_cast<unsigned>(one);
  }
  out[4] = static_cast<int>(odd);
  out[5] = below + under;
  out[6] = sum;
  out[7] = least;
  out[8] = most;
  out[9] = static_cast<int>(conjunction);
  out[10] = static_cast<int>(disjunction);
  out[11] = static_cast<int>(parity);
  out[12] = static_cast<int>(same);
  return out;
}

void warps() {
  constexpr size_t count = 300;
  std::vector<Round> rounds(count);
  std::vector<int> values(count * 32);
  for (size_t i = 0; i < count; ++i) {
    const unsigned mask = numbers();
    rounds[i].mask = i % 2 == 0 || mask == 0 ? 0xffffffffu : mask;
    rounds[i].width = 1 << numbers() % 6;
    rounds[i].source = static_cast<int>(numbers() % 64);
    rounds[i].delta = static_cast<int>(numbers() % 32);
  }
  for (int& value : values) value = static_cast<int>(numbers() % 44) - 22;
  DeviceArray<Round> on_rounds(rounds);
  DeviceArray<int> on_values(values), out(count * 32 * exchanges);
  launch<exchange>(Launch{dim3(count), dim3(32)}, static_cast<const Round*>(on_rounds.get()),
                   static_cast<const int*>(on_values.get()), out.get());
  const std::vector<int> got = out.values();
  std::string wrong;
  for (size_t i = 0; i < count; ++i)
    for (int lane = 0; lane < 32; ++lane) {
      if ((rounds[i].mask >> lane & 1) == 0) continue;
      const std::vector<int> wanted = expected(rounds[i], &values[i * 32], lane);
      for (size_t e = 0; e < exchanges; ++e)
        if (const int is = got[(i * 32 + static_cast<size_t>(lane)) * exchanges + e]; is != wanted[e] && wrong.empty())
          wrong = "round " + std::to_string(i) + ", lane " + std::to_string(lane) + ", operation " + std::to_string(e) +
                  ": " + std::to_string(is) + " instead of " + std::to_string(wanted[e]);
    }
  report("exchange within warps, masks and widths at random", wrong.empty(), wrong);
}

__global__ void vote_of_block(const int* values, int* out) {
  const int value = values[blockIdx.x * blockDim.x + threadIdx.x];
  int* to = out + (blockIdx.x * blockDim.x + threadIdx.x) * 3;
  to[0] = __syncthreads_count(value > 0);
  to[1] = __syncthreads_or(value > 5);
  to[2] = __syncthreads_and(value > -6);
}

void votes() {
  constexpr int blocks = 40, threads = 75;
  std::vector<int> values(blocks * threads);
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t spread = 1 + i / threads % 8;
    values[i] = static_cast<int>(numbers() % (2 * spread)) - static_cast<int>(spread) + 1;
  }
  DeviceArray<int> on_values(values), out(values.size() * 3);
  launch<vote_of_block>(Launch{dim3(blocks), dim3(threads)}, static_cast<const int*>(on_values.get()), out.get());
  const std::vector<int> got = out.values();
  bool good = true;
  for (size_t b = 0; b < blocks; ++b) {
    int positive = 0, any = 0, all = 1;
    for (size_t t = 0; t < threads; ++t) {
      const int value = values[b * threads + t];
      positive += value > 0 ? 1 : 0;
      if (value > 5) any = 1;
      if (value <= -6) all = 0;
    }
    for (size_t t = 0; t < threads; ++t) {
      const int* is = &got[(b * threads + t) * 3];
      good = good && is[0] == positive && (is[1] != 0) == (any != 0) && (is[2] != 0) == (all != 0);
    }
  }
  report("votes of blocks that are no multiple of a warp", good);
}

__global__ void whole_numbers(const uint32_t* in, uint32_t* out, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  const uint32_t a = in[i * 3], b = in[i * 3 + 1], c = in[i * 3 + 2];
  uint32_t* to = out + i * 8;
  to[0] = static_cast<uint32_t>(__dp4a(static_cast<int>(a), static_cast<int>(b), static_cast<int>(c)));
  to[1] = __dp4a(a, b, c);
  to[2] = __byte_perm(a, b, c);
  to[3] = __umulhi(a, b);
  to[4] = static_cast<uint32_t>(__popc(a) + 100 * __clz(static_cast<int>(b >> (c & 31))));
  to[5] = static_cast<uint32_t>(__ffs(static_cast<int>(a << (c & 31))));
  to[6] = static_cast<uint32_t>(__float2int_rn(__uint_as_float(a)));
  to[7] = static_cast<uint32_t>(__float2int_rd(__uint_as_float(a)));
}

uint32_t to_int(double value) {
  if (std::isnan(value)) return 0;
  return static_cast<uint32_t>(static_cast<int>(std::fmin(std::fmax(value, INT32_MIN), INT32_MAX)));
}

void words() {
  constexpr size_t count = 4000;
  std::vector<uint32_t> in(count * 3);
  for (uint32_t& word : in) word = numbers();
  for (size_t i = 0; i < count; i += 2) {  // floats of a size that whole numbers have, with halves
    const float value = (static_cast<float>(numbers() % 4000) - 2000.0f) / 2;
    std::memcpy(&in[i * 3], &value, 4);
  }
  for (size_t i = 0; i < count; ++i) in[i * 3 + 2] &= 0x7777u;  // selectors without the sign's bit
  DeviceArray<uint32_t> on_in(in), out(count * 8);
  launch<whole_numbers>(Launch{dim3((count + 127) / 128), dim3(128)}, static_cast<const uint32_t*>(on_in.get()),
                        out.get(), static_cast<int>(count));
  const std::vector<uint32_t> got = out.values();
  std::string wrong;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t a = in[i * 3], b = in[i * 3 + 1], c = in[i * 3 + 2];
    uint32_t with_sign = c, without = c, chosen = 0;
    for (int k = 0; k < 4; ++k) {
      const auto byte = [k](uint32_t word) { return word >> (8 * k) & 255; };
      with_sign += static_cast<uint32_t>(static_cast<int8_t>(byte(a)) * static_cast<int8_t>(byte(b)));
      without += byte(a) * byte(b);
      const uint32_t which = c >> (4 * k) & 7;
      chosen |= ((which < 4 ? a : b) >> (8 * (which % 4)) & 255) << (8 * k);
    }
    uint32_t ones = 0, zeros = 0, lowest = 0;
    for (int k = 0; k < 32; ++k) ones += a >> k & 1;
    for (int k = 31; k >= 0 && ((b >> (c & 31)) >> k & 1) == 0; --k) ++zeros;
    for (uint32_t k = 32; k > 0; --k)
      if (((a << (c & 31)) >> (k - 1) & 1) != 0) lowest = k;
    const double value = bits_as<float>(a);
    const uint32_t wanted[8] = {with_sign,
                                without,
                                chosen,
                                static_cast<uint32_t>((static_cast<uint64_t>(a) * b) >> 32),
                                ones + 100 * zeros,
                                lowest,
                                to_int(std::nearbyint(value)),
                                to_int(std::floor(value))};
    for (size_t k = 0; k < 8; ++k)
      if (got[i * 8 + k] != wanted[k] && wrong.empty())
        wrong = "operation " + std::to_string(k) + ": " + std::to_string(got[i * 8 + k]) + " instead of " +
                std::to_string(wanted[k]);
  }
  report("whole numbers: dot products of bytes, permutations, counts, rounding", wrong.empty(), wrong);
}

// The nearest 16-bit float, of two the even one: found by trying neighbours, in long double.
template <bool bfloat>
long double value_of(uint32_t bits) {
  const int width = bfloat ? 7 : 10, bias = bfloat ? 127 : 15, exponent = static_cast<int>(bits & 0x7fff) >> width;
  const long double fraction = static_cast<long double>(bits & ((1u << width) - 1)) / (1 << width);
  const long double size = exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
  return (bits & 0x8000) != 0 ? -size : size;
}
template <bool bfloat>
uint32_t nearest(long double value) {
  constexpr uint32_t infinity = bfloat ? 0x7f80 : 0x7c00;
  const uint32_t sign = std::signbit(value) ? 0x8000 : 0;
  const long double size = std::abs(value);
  uint32_t low = 0, high = infinity;  // infinity stands for the power of two that would follow
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (value_of<bfloat>(middle) <= size ? low : high) = middle;
  }
  const long double below = size - value_of<bfloat>(low), above = value_of<bfloat>(high) - size;
  return sign | (below < above || (below == above && low % 2 == 0) ? low : high);
}

__global__ void small_floats(const float* in, const uint16_t* halves, uint32_t* out, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  const __half a = __ushort_as_half(halves[i * 3]), b = __ushort_as_half(halves[i * 3 + 1]);
  const __half c = __ushort_as_half(halves[i * 3 + 2]);
  uint32_t* to = out + i * 6;
  to[0] = __half_as_ushort(__float2half_rn(in[i]));
  to[1] = __bfloat16_as_ushort(__float2bfloat16_rn(in[i]));
  to[2] = __half_as_ushort(__hadd(a, b));
  to[3] = __half_as_ushort(__hmul(a, b));
  to[4] = __half_as_ushort(__hfma(a, b, c));
  to[5] = __float_as_uint(__half2float(a));
}

void small() {
  constexpr size_t count = 30000;
  std::vector<float> in(count);
  std::vector<uint16_t> halves(count * 3);
  const auto half = [](int exponent, uint32_t fraction) {
    return static_cast<uint16_t>((numbers() & 0x8000) | static_cast<uint32_t>(exponent) << 10 | (fraction & 1023));
  };
  for (size_t i = 0; i < count; ++i) {
    in[i] = std::ldexp(static_cast<float>(numbers() % 8192) - 4096.0f, static_cast<int>(numbers() % 44) - 34);
    if (i % 3 == 0) in[i] += std::ldexp(1.0f, static_cast<int>(numbers() % 40) - 30);
    // Products near 1 and addends of any size: among them sums that lie next to a tie.
    halves[i * 3] = half(13 + static_cast<int>(numbers() % 4), numbers());
    halves[i * 3 + 1] = half(13 + static_cast<int>(numbers() % 4), i % 2 == 0 ? numbers() : 0);
    halves[i * 3 + 2] = half(static_cast<int>(numbers() % 31), i % 3 == 0 ? numbers() : numbers() & 0x200);
  }
  DeviceArray<float> on_in(in);
  DeviceArray<uint16_t> on_halves(halves);
  DeviceArray<uint32_t> out(count * 6);
  launch<small_floats>(Launch{dim3((count + 127) / 128), dim3(128)}, static_cast<const float*>(on_in.get()),
                       static_cast<const uint16_t*>(on_halves.get()), out.get(), static_cast<int>(count));
  const std::vector<uint32_t> got = out.values();
  std::string wrong;
  for (size_t i = 0; i < count; ++i) {
    const long double a = value_of<false>(halves[i * 3]), b = value_of<false>(halves[i * 3 + 1]);
    const long double c = value_of<false>(halves[i * 3 + 2]), fused = a * b + c;
    // Whether the sum in 64 bits of a long double is exact: only such are compared.
    const bool exact = fused - a * b == c && fused - c == a * b;
    const long double sums[5] = {in[i], in[i], a + b, a * b, fused};
    for (size_t k = 0; k < 5; ++k) {
      if ((k == 4 && !exact) || sums[k] == 0) continue;
      const uint32_t wanted = k == 1 ? nearest<true>(sums[k]) : nearest<false>(sums[k]);
      if (got[i * 6 + k] != wanted && wrong.empty())
        wrong = "operation " + std::to_string(k) + " of row " + std::to_string(i) + ": " +
                std::to_string(got[i * 6 + k]) + " instead of " + std::to_string(wanted);
    }
    if (static_cast<long double>(bits_as<float>(got[i * 6 + 5])) != a && wrong.empty()) wrong = "half to float";
  }
  report("16-bit floats: conversions, sums, products, fused products", wrong.empty(), wrong);
}

__global__ void draw(const uint64_t* keys, uint4* words, double* uniform, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  words[i] = philox(keys[i * 3], keys[i * 3 + 1], keys[i * 3 + 2]);
  uniform[i] = philox_uniform(keys[i * 3], keys[i * 3 + 1], keys[i * 3 + 2]);
}

void random_numbers() {
  constexpr size_t count = 1000;
  std::vector<uint64_t> keys(count * 3);
  for (uint64_t& key : keys) key = static_cast<uint64_t>(numbers()) << 32 | numbers();
  for (size_t i = 0; i < 30; ++i) keys[i] = i % 3 == 0 ? ~uint64_t{0} : i;
  DeviceArray<uint64_t> on_keys(keys);
  DeviceArray<uint4> words(count);
  DeviceArray<double> uniform(count);
  launch<draw>(Launch{dim3((count + 127) / 128), dim3(128)}, static_cast<const uint64_t*>(on_keys.get()), words.get(),
               uniform.get(), static_cast<int>(count));
  const std::vector<uint4> got = words.values();
  const std::vector<double> between = uniform.values();
  bool good = true;
  for (size_t i = 0; i < count; ++i) {
    const auto wanted = vivace::philox(keys[i * 3], keys[i * 3 + 1], keys[i * 3 + 2]);
    good = good && got[i].x == wanted[0] && got[i].y == wanted[1] && got[i].z == wanted[2] && got[i].w == wanted[3] &&
           between[i] == vivace::philox_uniform(keys[i * 3], keys[i * 3 + 1], keys[i * 3 + 2]);
  }
  report("random numbers are those of the processor", good);
}

}  // namespace
}  // namespace vivace::cuda

int main() {
  using namespace vivace::cuda;
  return run_checks([] {
    warps();
    votes();
    words();
    small();
    random_numbers();
  });
}
