// The kernels of linear against sums in 64 bits: every type of weights, odd shapes, outputs that hold NaN before.
// Prints a line per type: `ok name` or `FAILED name: why`. test/cuda/linear.test.ts runs it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "cuda/core/launch.h"
#include "cuda/ops/linear/arguments.h"
#include "cuda/quant/fragments.h"
#include "ops/linear/a8.h"
#include "quant/registry.h"
#include "quant/row_scaled.h"

namespace vivace::cuda {
namespace {

// Device memory that is aligned and goes on to a multiple of 256 bytes, as a program's weights do.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : count_(values.size()) {
    check(cudaMalloc(&data_, (count_ * sizeof(T) + 511) / 256 * 256), "cudaMalloc");
    check(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  T* get() const { return data_; }
  std::vector<T> values() const {
    std::vector<T> out(count_);
    check(cudaMemcpy(out.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return out;
  }

 private:
  T* data_ = nullptr;
  size_t count_;
};

std::vector<float> random_values(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

struct Case {
  DType dtype;
  int rows, out, columns;
  bool fragments = false;
  int multiprocessors = 0;  // of the card that a plan is made for
  bool joined = false;      // two more matrices in the same launch: the first rows of the weight, and all of them
};

// What linear sees of x, and what it is in floats.
struct Activations {
  std::vector<uint8_t> bytes;
  std::vector<float> values;
  int64_t stride = 0;
};

int code_of(float x, float inverse) {
  return static_cast<int>(std::nearbyint(x * inverse));
}

float largest_of(const float* x, int count) {
  float top = 0;
  for (int i = 0; i < count; ++i) top = std::fmax(top, std::fabs(x[i]));
  return top;
}

Activations activations_of(const Case& c, const std::vector<float>& x) {
  Activations a;
  a.values = x;
  const DType type = activations_for(c.dtype);
  a.stride = row_bytes(type, c.columns);
  a.bytes.resize(static_cast<size_t>(a.stride * c.rows));
  for (int r = 0; r < c.rows; ++r) {
    uint8_t* to = a.bytes.data() + r * a.stride;
    const float* from = x.data() + static_cast<size_t>(r) * static_cast<size_t>(c.columns);
    float* value = a.values.data() + static_cast<size_t>(r) * static_cast<size_t>(c.columns);
    if (type == DType::F32) std::memcpy(to, from, static_cast<size_t>(c.columns) * 4);
    // W?A16 in fragments: rounded to F16 under a power of two that brings the largest of 128 to [2^14, 2^15).
    for (int start = 0; c.fragments && type == DType::F32 && start < c.columns; start += 128) {
      const int count = std::min(128, c.columns - start);
      const int shift = 14 - std::ilogb(largest_of(from + start, count));
      for (int i = start; i < start + count; ++i)
        value[i] = std::ldexp(f32_from_f16(f16_from_f32(std::ldexp(from[i], shift))), -shift);
    }
    if (rounds_x(c.dtype, c.rows))
      for (int k = 0; k < c.columns; ++k)
        value[k] = c.dtype == DType::F16 ? f32_from_f16(f16_from_f32(from[k])) : f32_from_bf16(bf16_from_f32(from[k]));
    if (type == DType::A8_TOKEN) {
      const float top = largest_of(from, c.columns), scale = top / 127;
      int32_t sum = 0;
      for (int k = 0; k < c.columns; ++k) {
        const int code = code_of(from[k], 127 / top);
        to[find_dtype(type)->header + k] = static_cast<uint8_t>(code);
        value[k] = scale * static_cast<float>(code);
        sum += code;
      }
      std::memcpy(to, &scale, 4);
      std::memcpy(to + 4, &sum, 4);
    }
    if (type != DType::A8) continue;
    for (int start = 0; start < c.columns; start += 32) {
      A8Block block = {};
      const float top = largest_of(from + start, 32);
      block.scale = top / 127;
      for (int i = 0; i < 32; ++i) {
        const int code = code_of(from[start + i], 127 / top);
        block.codes[i] = static_cast<int8_t>(code);
        block.minus_sums[i / 16] -= code;
        value[start + i] = block.scale * static_cast<float>(code);
      }
      block.minus_sums[2] = block.minus_sums[0] + block.minus_sums[1];
      for (int i = 0; i < 3; ++i) block.scaled_sums[i] = static_cast<float>(-block.minus_sums[i]) * block.scale;
      std::memcpy(to + start / 32 * static_cast<int>(sizeof(block)), &block, sizeof(block));
    }
  }
  return a;
}

std::vector<float> run(const Case& c, const std::vector<uint8_t>& weight, const uint8_t* x, int64_t x_stride,
                       const float* bias, const float* residual, bool& taken, int tile = 0) {
  const auto count = static_cast<size_t>(c.rows) * static_cast<size_t>(c.out);
  const DeviceArray<uint8_t> stored(weight), in(std::vector<uint8_t>(x, x + x_stride * c.rows));
  const auto bytes = static_cast<size_t>(c.fragments ? fragment_bytes(c.dtype, c.out, c.columns) : 0);
  const DeviceArray<uint8_t> order(std::vector<uint8_t>(bytes, 0xff));
  // Poisoned: NaN as F16 and as F32.
  const int part = (c.out + 1) / 2;
  const std::vector<int> outs = c.joined ? std::vector<int>{c.out, part, c.out} : std::vector<int>{c.out};
  const DeviceArray<uint8_t> scratch(std::vector<uint8_t>(
      c.fragments ? linear_scratch(c.dtype, c.rows, outs, c.columns, c.multiprocessors) : 0, 0xff));
  const DeviceArray<uint32_t> tickets(std::vector<uint32_t>(linear_tickets, 0));
  if (c.fragments) to_fragments(c.dtype, stored.get(), order.get(), c.out, c.columns, nullptr);
  const std::vector<float> poison(count, std::numeric_limits<float>::quiet_NaN());
  const DeviceArray<float> y(poison), second(poison), third(poison);
  const DeviceArray<float> b(std::vector<float>(bias, bias + c.out));
  const DeviceArray<float> more(std::vector<float>(residual, residual + count));
  LinearArguments arguments{c.dtype,
                            c.fragments ? order.get() : stored.get(),
                            row_bytes(c.dtype, c.columns),
                            in.get(),
                            x_stride,
                            y.get(),
                            b.get(),
                            more.get(),
                            c.rows,
                            c.out,
                            c.columns,
                            c.fragments,
                            scratch.get(),
                            tickets.get(),
                            c.multiprocessors};
  if (c.joined) {
    arguments.others[0] = {arguments.weight, second.get(), nullptr, nullptr, part};
    arguments.others[1] = {arguments.weight, third.get(), nullptr, nullptr, c.out};
    arguments.other_count = 2;
  }
  taken = tile == 0 ? fast_linear(arguments, nullptr) : tiled_linear(arguments, nullptr, tile);
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  for (const uint32_t ticket : tickets.values())
    if (ticket != 0) throw Error("INTERNAL", "a ticket is left");
  const std::vector<float> values = y.values(), some = second.values(), all = third.values();
  for (size_t i = 0; c.joined && i < count; ++i) {
    const size_t row = i / static_cast<size_t>(c.out), n = i % static_cast<size_t>(c.out);
    const auto width = static_cast<size_t>(part);
    const float sum = all[i], wanted = (sum + bias[n]) + residual[i];
    if (std::memcmp(&wanted, &values[i], 4) != 0 || (n < width && std::memcmp(&sum, &some[row * width + n], 4) != 0))
      throw Error("INTERNAL", "matrices of one launch have different sums");
  }
  return values;
}

// The same bits as the contract's formula in whole numbers.
float token_value(const Case& c, const uint8_t* weight, const uint8_t* token) {
  const RowScale scale = load_row_scale(weight);
  const uint8_t* codes = weight + sizeof(RowScale);
  int64_t sum = 0;
  for (int k = 0; k < c.columns; ++k) {
    const auto nibble = [&](const uint8_t* at, int i) { return i % 2 == 0 ? at[i / 2] & 15 : at[i / 2] >> 4; };
    int code;
    if (c.dtype == DType::W8A8) {
      code = static_cast<int8_t>(codes[k]);
    } else if (c.dtype == DType::W4A8) {
      code = nibble(codes, k);
    } else {
      const uint8_t* block = codes + k / 128 * 66;
      code = static_cast<int8_t>(block[0] * nibble(block + 2, k % 128) + static_cast<int8_t>(block[1]));
    }
    sum += code * static_cast<int8_t>(token[find_dtype(DType::A8_TOKEN)->header + k]);
  }
  float x_scale;
  int32_t x_sum;
  std::memcpy(&x_scale, token, 4);
  std::memcpy(&x_sum, token + 4, 4);
  return x_scale * std::fma(scale.scale, static_cast<float>(sum), -(scale.shift * static_cast<float>(x_sum)));
}

std::string compare(const Case& c) {
  const auto in = static_cast<size_t>(c.columns), count = static_cast<size_t>(c.rows) * static_cast<size_t>(c.out);
  const QuantType& type = *find_quant(c.dtype);
  const int64_t size = row_bytes(c.dtype, c.columns);
  const std::vector<float> raw = random_values(in * static_cast<size_t>(c.out), 1), bias = random_values(count, 2);
  const std::vector<float> residual = random_values(count, 3);
  std::vector<uint8_t> weight(static_cast<size_t>(size * c.out));
  std::vector<float> weights(raw.size());
  for (int n = 0; n < c.out; ++n) {
    auto* row = reinterpret_cast<std::byte*>(weight.data() + n * size);
    type.quantize_row(raw.data() + static_cast<size_t>(n) * in, row, c.columns);
    type.dequantize_row(row, weights.data() + static_cast<size_t>(n) * in, c.columns);
  }
  const Activations x = activations_of(c, random_values(in * static_cast<size_t>(c.rows), 4));
  bool taken = false;
  const std::vector<float> y = run(c, weight, x.bytes.data(), x.stride, bias.data(), residual.data(), taken);
  if (!taken) return "the kernels do not take it";
  for (size_t i = 0; i < count; ++i) {
    const size_t r = i / static_cast<size_t>(c.out), n = i % static_cast<size_t>(c.out);
    if (activations_for(c.dtype) == DType::A8_TOKEN) {
      float wanted = token_value(c, weight.data() + n * static_cast<size_t>(size),
                                 x.bytes.data() + r * static_cast<size_t>(x.stride));
      wanted += bias[n];
      wanted += residual[i];
      if (std::memcmp(&wanted, &y[i], 4) != 0) return "value " + std::to_string(i) + " has other bits";
      continue;
    }
    double wanted = 0, sizes = 0;
    for (size_t k = 0; k < in; ++k) {
      const double product = static_cast<double>(x.values[r * in + k]) * static_cast<double>(weights[n * in + k]);
      wanted += product;
      sizes += std::fabs(product);
    }
    wanted += static_cast<double>(bias[n]) + static_cast<double>(residual[i]);
    if (!(std::fabs(static_cast<double>(y[i]) - wanted) <= 3e-7 * (sizes + std::fabs(wanted) + 1)))
      return "value " + std::to_string(i) + " is " + std::to_string(y[i]) + ", not " + std::to_string(wanted);
  }
  // A row alone, and one of a batch of another size; kernels that round x serve no few rows.
  const bool is_rounded = rounds_x(c.dtype, c.rows);
  for (const int some : {is_rounded ? rounded_rows : 1, is_rounded ? rounded_rows + 2 : 5}) {
    Case part = c;
    part.rows = some < c.rows ? some : is_rounded ? rounded_rows : 1;
    const int from = c.rows - part.rows;
    const auto offset = static_cast<size_t>(from) * static_cast<size_t>(c.out);
    const std::vector<float> again =
        run(part, weight, x.bytes.data() + from * x.stride, x.stride, bias.data(), residual.data() + offset, taken);
    if (std::memcmp(again.data(), y.data() + offset, again.size() * 4) != 0) return "a row depends on its batch";
  }
  // Other cuts of the same shape. Fragments: two warps or more to a block, a block per slice or for all of them.
  // Of GGUF's types: the kernel for few rows instead of tiles.
  for (const int multiprocessors : {132, 4, 1000, c.rows <= 8 ? -132 : -4}) {
    if (!c.fragments && (!find_dtype(c.dtype)->quantized || multiprocessors < 0)) break;
    Case other = c;
    other.multiprocessors = std::abs(multiprocessors);
    other.joined = multiprocessors < 0;
    if (other.joined && c.rows > 17) break;
    const std::vector<float> again = run(other, weight, x.bytes.data(), x.stride, bias.data(), residual.data(), taken);
    if (std::memcmp(again.data(), y.data(), count * 4) != 0) return "the cut changes bits";
  }
  for (const int tile : {128, 256}) {
    if (c.rows <= 64 || c.fragments || find_dtype(c.dtype)->quantized) break;
    const std::vector<float> again =
        run(c, weight, x.bytes.data(), x.stride, bias.data(), residual.data(), taken, tile);
    if (!taken || std::memcmp(again.data(), y.data(), count * 4) != 0) return "the size of tiles changes bits";
  }
  return "";
}

std::string name_of(const Case& c) {
  return std::string(find_dtype(c.dtype)->name) + " [" + std::to_string(c.rows) + ", " + std::to_string(c.columns) +
         "] · " + std::to_string(c.out);
}

int run_all() {
  const int batches[] = {1, 3, 8, 9, 17, 34}, outs[] = {1, 37, 70, 16};
  int failures = 0, turn = 0;
  for (const DTypeInfo& info : dtype_table) {
    if (find_quant(info.id) == nullptr) continue;
    std::string why;
    for (int i = 0; i < 6 && why.empty(); ++i, ++turn) {
      // Less than a step, steps for some warps alone, an odd end, more than the ring has stages.
      const int steps[] = {256, 768, 1024 + 32, 256 * 15, 32, 2304};
      const int width = info.block > 32 ? info.block : 32;
      const Case c{info.id, batches[i], outs[turn % 4], (steps[i] + width - 1) / width * width};
      why = compare(c);
      if (!why.empty()) why = name_of(c) + ": " + why;
    }
    // Tiles of x of all sizes, several of the largest; slices, some of them short; strips and units that are not full.
    const int many[] = {1, 5, 9, 17, 33, 70}, widths[] = {2048 + 384, 160, 1024 + 32, 384, 1152, 256};
    for (int i = 0; has_fragments(info.id, 32) && i < 6 && why.empty(); ++i) {
      const int columns = (widths[i] + info.block - 1) / info.block * info.block;
      const Case c{info.id, many[i], outs[(i + 1) % 4], columns, true};
      why = compare(c);
      if (!why.empty()) why = name_of(c) + " in fragments: " + why;
    }
    // Tiles of GGUF's types: several, none full.
    if (info.quantized && why.empty()) {
      const Case c{info.id, 70, 131, info.block == 32 ? 512 + 96 : 768};
      why = compare(c);
      if (!why.empty()) why = name_of(c) + ": " + why;
    }
    // Tiles of all sizes, none full; an odd end of the last step.
    const bool is_tiled = info.per_token || info.bytes == 2;
    for (int i = 0; is_tiled && i < 2 && why.empty(); ++i) {
      const int columns = info.block == 128 ? 384 : info.per_token ? 224 : 200;
      const Case c{info.id, i == 0 ? 70 : 150, i == 0 ? 131 : 70, columns};
      why = compare(c);
      if (!why.empty()) why = name_of(c) + ": " + why;
    }
    std::printf(why.empty() ? "ok %s\n" : "FAILED %s: %s\n", info.name, why.c_str());
    std::fflush(stdout);
    failures += why.empty() ? 0 : 1;
  }
  return failures;
}

}  // namespace

int check_unpacked();  // unpacked.cu

}  // namespace vivace::cuda

int main() {
  try {
    return vivace::cuda::run_all() + vivace::cuda::check_unpacked() == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
}
