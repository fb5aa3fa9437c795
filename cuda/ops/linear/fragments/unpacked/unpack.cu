// Weights in fragments become pieces (unpacked.h), and rows of A8 what is multiplied with them.
#include "cuda/core/copy.h"
#include "cuda/core/launch.h"
#include "cuda/core/packed.h"
#include "cuda/core/unroll.h"
#include "cuda/ops/linear/fragments/block_codes.h"
#include "cuda/ops/linear/fragments/unpacked/unpacked.h"
#include "ops/linear/a8.h"

namespace vivace::cuda {
namespace {

constexpr int unpack_warps = 4, widen_threads = 128;

// Two bytes of a word, `high` or low ones, as f16 over 2^shift: 0x6400 | b is 1024 + b.
__device__ inline uint32_t halves_of(uint32_t word, bool high, uint32_t shift) {
  const uint32_t bits = __byte_perm(word ^ 0x80808080u, 0x64646464u, high ? 0x4342u : 0x4140u);
  const uint32_t factor = 0x3c00u - (shift << 10), minus = 0xe480u - (shift << 10);  // -1152 · factor
  return fma_f16(bits, factor * 0x00010001u, minus * 0x00010001u);
}

// A warp has two units of a strip: what the second one of Q4_K needs of scales is in the first.
template <class Codes>
__global__ void unpack_units(const uint8_t* fragments, int64_t strip_bytes, int count, int blocks, uint8_t* to) {
  constexpr BlockLayout layout = Codes::layout();
  constexpr PieceLayout piece = {layout.halves ? 2 : 1, Codes::has_min};
  constexpr auto shift = static_cast<uint32_t>((whole_base - Codes::base) >> 23);
  constexpr int room = layout.largest_unit();
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32), g = lane / 4,
            t = lane % 4;
  const int strip = static_cast<int>(blockIdx.x) * unpack_warps + warp;
  if (strip >= count) return;
  const auto memory = dynamic_shared<uint8_t>(static_cast<size_t>(warp * room), room);
  typename Codes::Scales scales;
  UNROLL
  for (int odd = 0; odd < 2; ++odd) {
    const int unit = 2 * static_cast<int>(blockIdx.y) + odd;
    if (4 * unit >= blocks) return;
    const int begin = layout.scale_bytes(odd);
    const uint8_t* from = fragments + strip * strip_bytes + layout.place(unit);
    __syncwarp();  // nobody reads the last unit any more
    for (int i = lane; i < (begin + layout.code_bytes()) / 16; i += 32)
      copy_async<16>(memory, static_cast<size_t>(16 * i), from + 16 * i);
    commit_copies();
    wait_copies<0>();
    __syncwarp();
    scales.load(memory, odd == 1);
    uint32_t codes[Codes::words];
    UNROLL
    for (int i = 0; i < Codes::words / 4; ++i) {
      const uint4 four = load_as<uint4>(memory, static_cast<size_t>(begin + 512 * i + 16 * lane));
      codes[4 * i] = four.x, codes[4 * i + 1] = four.y, codes[4 * i + 2] = four.z, codes[4 * i + 3] = four.w;
    }
    if constexpr (Codes::words % 4 == 2) {
      const uint2 two = load_as<uint2>(memory, static_cast<size_t>(begin + 512 * (Codes::words / 4) + 8 * lane));
      codes[Codes::words - 2] = two.x, codes[Codes::words - 1] = two.y;
    }
    UNROLL
    for (int j = 0; j < 4; ++j) {
      if (4 * unit + j >= blocks) break;
      uint8_t* out = to + (int64_t{strip} * blocks + 4 * unit + j) * piece.bytes();
      uint32_t bytes[4];
      Codes::operand(codes, j, bytes);
      UNROLL
      for (int p = 0; p < 2; ++p)
        store_as(out, static_cast<size_t>(512 * p + 16 * lane),
                 make_uint4(halves_of(bytes[2 * p], false, shift), halves_of(bytes[2 * p + 1], false, shift),
                            halves_of(bytes[2 * p], true, shift), halves_of(bytes[2 * p + 1], true, shift)));
      if (t != j) continue;  // the four lanes of a row have the same scales
      UNROLL
      for (int p = 0; p < piece.parts; ++p) UNROLL
      for (int half = 0; half < 2; ++half) {
        const auto place = static_cast<size_t>(PieceLayout::code_bytes + 64 * p + 4 * (g + 8 * half));
        store_as(out, place, scales.scale(half, piece.parts * j + p));
        if constexpr (Codes::has_min) store_as(out, place + 64 * piece.parts, scales.min(half, piece.parts * j + p));
      }
    }
  }
}

template <class Codes>
void start(const uint8_t* fragments, int first, int count, int columns, uint8_t* to, cudaStream_t stream) {
  constexpr BlockLayout layout = Codes::layout();
  const int64_t strip_bytes = layout.strip_bytes(columns);
  const dim3 grid(static_cast<unsigned>((count + unpack_warps - 1) / unpack_warps),
                  static_cast<unsigned>((layout.units(columns) + 1) / 2));
  const size_t shared = unpack_warps * layout.largest_unit();
  launch<unpack_units<Codes>>(Launch{grid, dim3(32 * unpack_warps), shared, stream}, fragments + first * strip_bytes,
                              strip_bytes, count, columns / 32, to);
}

// A thread per row and piece.
__global__ void widen_codes(const uint8_t* x, int64_t x_stride, int rows, int padded, int blocks, PieceLayout piece,
                            uint8_t* codes, float* numbers) {
  const int row = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), block = static_cast<int>(blockIdx.y);
  if (row >= padded) return;
  const bool there = row < rows, halves = piece.parts == 2;
  const uint8_t* from = x + (there ? row * x_stride + int64_t{block} * static_cast<int>(sizeof(A8Block)) : 0);
  uint8_t* out = codes + (int64_t{row} * blocks + block) * (2 * PieceLayout::columns);
  UNROLL
  for (int chunk = 0; chunk < 4; ++chunk) {
    uint32_t words[4] = {};
    UNROLL
    for (int i = 0; there && i < 4; ++i) {
      const int column = piece_column(halves, chunk / 2, 8 * (chunk % 2) + 2 * i);
      const uint32_t word = load_as<uint32_t>(from, offsetof(A8Block, codes) + static_cast<size_t>(column / 4 * 4));
      words[i] = halves_of(word, column % 4 == 2, 0);
    }
    store_as(out, static_cast<size_t>(16 * chunk), make_uint4(words[0], words[1], words[2], words[3]));
  }
  float* to = numbers + int64_t{block} * piece.numbers_of_x() * padded + row;
  to[0] = there ? load_as<float>(from, offsetof(A8Block, scale)) : 0.0f;
  for (int p = 0; piece.has_min && p < piece.parts; ++p) {
    const int sum = halves ? p : A8Block::all;
    to[(1 + p) * padded] =
        there ? load_as<float>(from, offsetof(A8Block, scaled_sums) + static_cast<size_t>(4 * sum)) : 0.0f;
  }
}

}  // namespace

void unpack_strips(DType dtype, const uint8_t* fragments, int first, int count, int columns, uint8_t* to,
                   cudaStream_t stream) {
  switch (dtype) {
    case DType::Q4_0:
      return start<FragmentsQ4_0>(fragments, first, count, columns, to, stream);
    case DType::Q4_1:
      return start<FragmentsQ4_1>(fragments, first, count, columns, to, stream);
    case DType::Q5_0:
      return start<FragmentsQ5_0>(fragments, first, count, columns, to, stream);
    case DType::Q5_1:
      return start<FragmentsQ5_1>(fragments, first, count, columns, to, stream);
    case DType::Q2_K:
      return start<FragmentsQ2_K>(fragments, first, count, columns, to, stream);
    case DType::Q3_K:
      return start<FragmentsQ3_K>(fragments, first, count, columns, to, stream);
    case DType::Q4_K:
      return start<FragmentsQ4_K>(fragments, first, count, columns, to, stream);
    case DType::Q5_K:
      return start<FragmentsQ5_K>(fragments, first, count, columns, to, stream);
    case DType::Q6_K:
      return start<FragmentsQ6_K>(fragments, first, count, columns, to, stream);
    case DType::IQ4_NL:
      return start<FragmentsIQ4_NL>(fragments, first, count, columns, to, stream);
    case DType::IQ4_XS:
      return start<FragmentsIQ4_XS>(fragments, first, count, columns, to, stream);
    default:
      return start<FragmentsQ8_0>(fragments, first, count, columns, to, stream);
  }
}

void widen_rows(const LinearArguments& a, const UnpackedPlan& plan, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((plan.padded + widen_threads - 1) / widen_threads),
                  static_cast<unsigned>(a.columns / 32));
  launch<widen_codes>(Launch{grid, dim3(widen_threads), 0, stream}, a.x, a.x_stride, a.rows, plan.padded,
                      a.columns / 32, piece_layout(a.dtype), a.scratch,
                      reinterpret_cast<float*>(a.scratch + plan.numbers));
}

}  // namespace vivace::cuda
