// kv_write: see cpp/ops/attention/kv_write.h; the same bits as on the CPU.
#include <cuda_fp16.h>

#include "cuda/ops/attention/pages.h"
#include "cuda/ops/attention/sparse/sparse.h"
#include "cuda/ops/elementwise.h"

namespace vivace::cuda {
namespace {

__device__ void write_q8_0(const float* in, uint8_t* out) {
  float largest = 0;
  bool strange = false;
  for (int i = 0; i < 32; ++i) {
    const uint32_t size = __float_as_uint(in[i]) & 0x7fffffffu;
    strange = strange || size >= 0x7f800000u;
    largest = fmaxf(largest, __uint_as_float(size));
  }
  const float d = largest / 127.0f;
  const float inverse = strange || d < 0x1p-126f ? 0.0f : 1.0f / d;
  const unsigned short bits = strange ? 0x7e00 : __half_as_ushort(__float2half_rn(d));
  out[0] = static_cast<uint8_t>(bits);
  out[1] = static_cast<uint8_t>(bits >> 8);
  for (int i = 0; i < 32; ++i) {
    const float x = inverse == 0.0f ? 0.0f : in[i] * inverse;
    out[2 + i] = static_cast<uint8_t>(static_cast<int>(x + (x < 0.0f ? -0.5f : 0.5f)));
  }
}

// The value of the largest size, of equal ones the first, becomes code 0 of 16: as ggml does.
__device__ void write_q4_0(const float* in, uint8_t* out) {
  float size = 0, extreme = 0;
  bool strange = false;
  for (int i = 0; i < 32; ++i) {
    const uint32_t bits = __float_as_uint(in[i]) & 0x7fffffffu;
    strange = strange || bits >= 0x7f800000u;
    if (__uint_as_float(bits) > size) {
      size = __uint_as_float(bits);
      extreme = in[i];
    }
  }
  const float d = extreme / -8.0f;
  const float inverse = strange || fabsf(d) < 0x1p-126f ? 0.0f : 1.0f / d;
  const unsigned short bits = strange ? 0x7e00 : __half_as_ushort(__float2half_rn(d));
  out[0] = static_cast<uint8_t>(bits);
  out[1] = static_cast<uint8_t>(bits >> 8);
  const auto code = [&](int i) {
    const float x = inverse == 0.0f ? 0.0f : __fmul_rn(in[i], inverse);
    const int whole = static_cast<int>(__fadd_rn(x, 8.5f));
    return whole < 15 ? whole : 15;
  };
  for (int i = 0; i < 16; ++i) out[2 + i] = static_cast<uint8_t>(code(i) | code(i + 16) << 4);
}

// Up to 32 values from column `from` of a head.
__device__ void write_piece(DType dtype, const float* in, int from, int dim, std::byte* out) {
  const int count = dim - from < 32 ? dim - from : 32;
  if (dtype == DType::Q8_0) {
    write_q8_0(in + from, reinterpret_cast<uint8_t*>(out) + from / 32 * 34);
  } else if (dtype == DType::Q4_0) {
    write_q4_0(in + from, reinterpret_cast<uint8_t*>(out) + from / 32 * 18);
  } else if (dtype == DType::F16) {
    for (int i = 0; i < count; ++i) reinterpret_cast<__half*>(out)[from + i] = __float2half_rn(in[from + i]);
  } else {
    for (int i = 0; i < count; ++i) reinterpret_cast<float*>(out)[from + i] = in[from + i];
  }
}

// One thread per row, head and 32 columns of keys or values.
__global__ void write_cells(const float* k, const float* v, DeviceBatch batch, DeviceKv kv, int layer, int64_t rows) {
  const int key_pieces = (kv.key_dim + 31) / 32, pieces = key_pieces + (kv.value_dim + 31) / 32;
  for_each_value(rows * kv.kv_heads * pieces, [&](int64_t i) {
    const int piece = static_cast<int>(i % pieces), head = static_cast<int>(i / pieces % kv.kv_heads);
    const int64_t row = i / pieces / kv.kv_heads;
    const int cell = batch.cells[row];
    if (cell < 0) return;  // padding
    const int64_t at = row * kv.kv_heads + head;
    if (piece < key_pieces)
      write_piece(kv.key_dtype, k + at * kv.key_dim, piece * 32, kv.key_dim,
                  key_row(batch, kv, row, layer, head, cell));
    else
      write_piece(kv.value_dtype, v + at * kv.value_dim, (piece - key_pieces) * 32, kv.value_dim,
                  value_row(batch, kv, row, layer, head, cell));
  });
}

}  // namespace

void kv_write(const DeviceRun& run) {
  const Tensor &k = run.inputs[0], &v = run.inputs[1];
  const int64_t pieces = (run.kv.key_dim + 31) / 32 + (run.kv.value_dim + 31) / 32;
  launch<write_cells>(elementwise(k.rows * run.kv.kv_heads * pieces, run), values_of<const float>(k),
                      values_of<const float>(v), run.batch, run.kv, static_cast<int>(run.attributes[0]), k.rows);
  write_labels(run);
}

}  // namespace vivace::cuda
