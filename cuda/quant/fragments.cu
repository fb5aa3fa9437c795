// Stored rows of W?A16 become fragments on the card.
#include "cuda/quant/fragments.h"

#include "cuda/core/launch.h"

namespace vivace::cuda {
namespace {

struct StoredRows {
  const uint8_t* data;
  int64_t stride, rows, width;
  FragmentLayout layout;

  __device__ const uint8_t* group(int64_t row, int64_t k) const {
    const uint8_t* at = data + row * stride;
    return layout.group == 0 ? at : at + k / layout.group * (4 + layout.group * layout.bits / 8);
  }
  __device__ uint32_t word(int64_t row, int64_t k) const {
    if (row >= rows || k >= width) return 0;
    const uint8_t* at = group(row, k);
    return at[0] | at[1] << 8 | at[2] << 16 | static_cast<uint32_t>(at[3]) << 24;
  }
  // Unsigned; what lies beyond stands for zero under a word of zeros.
  __device__ uint32_t code(int64_t row, int64_t k) const {
    if (row >= rows || k >= width) return layout.bits == 4 ? 0 : 128;
    const uint8_t* at = group(row, k) + 4;
    const int64_t i = layout.group == 0 ? k : k % layout.group;
    return layout.bits == 4 ? at[i / 2] >> (i % 2 * 4) & 15 : at[i] ^ 128u;
  }
};

// One block per unit (x) of a strip (y); a thread makes a word of four bytes at a time.
__global__ void make_fragments(StoredRows from, uint8_t* to) {
  const FragmentLayout layout = from.layout;
  const int64_t strip = int64_t{blockIdx.y} * FragmentLayout::rows, unit = blockIdx.x;
  uint8_t* out = to + blockIdx.y * layout.strip_bytes(from.width);
  const auto store = [&](uint8_t* at, uint32_t word) { *reinterpret_cast<uint32_t*>(at) = word; };
  if (layout.group == 0 && unit == 0 && threadIdx.x < FragmentLayout::rows)
    store(out + 4 * threadIdx.x, from.word(strip + threadIdx.x, 0));
  out += layout.header() + unit * layout.unit_bytes();
  const int code_words = layout.code_bytes() / 4, words = layout.unit_bytes() / 4;
  for (int i = static_cast<int>(threadIdx.x); i < words; i += static_cast<int>(blockDim.x)) {
    if (i >= code_words) {
      const int row = (i - code_words) % 16, group = (i - code_words) / 16;
      store(out + 4 * i, from.word(strip + row, unit * FragmentLayout::columns + group * layout.group));
      continue;
    }
    const int load = i / 128, lane = i / 4 % 32, part = i % 4;
    const int64_t row = strip + lane / 4;
    uint32_t word = 0;
    if (layout.bits == 4) {
      // A word is a product: 64 columns in four of them.
      const int64_t k = unit * 128 + 64 * load + 32 * (part / 2) + 8 * (lane % 4) + 4 * (part % 2);
      for (int n = 0; n < 8; ++n) word |= from.code(row + 8 * (n % 2), k + n % 4 / 2 * 2 + n / 4) << (4 * n);
    } else {
      const int64_t k = unit * 128 + 32 * load + 8 * (lane % 4) + 4 * (part / 2);
      for (int n = 0; n < 4; ++n) word |= from.code(row + 8 * (part % 2), k + n) << (8 * n);
    }
    store(out + 4 * i, word);
  }
}

}  // namespace

void to_fragments(DType dtype, const uint8_t* from, uint8_t* to, int64_t rows, int64_t width, cudaStream_t stream) {
  const FragmentLayout layout = fragment_layout(dtype);
  if (layout.bits == 0) return to_block_fragments(dtype, from, to, rows, width, stream);
  const StoredRows stored = {from, row_bytes(dtype, width), rows, width, layout};
  const int64_t strips = layout.strips(rows);
  for (int64_t first = 0; first < strips; first += 32768) {
    const int64_t count = strips - first < 32768 ? strips - first : 32768;
    StoredRows part = stored;
    part.data += first * FragmentLayout::rows * stored.stride;
    part.rows -= first * FragmentLayout::rows;
    const dim3 grid(static_cast<unsigned>(layout.units(width)), static_cast<unsigned>(count));
    launch<make_fragments>(Launch{grid, dim3(128), 0, stream}, part, to + first * layout.strip_bytes(width));
  }
}

}  // namespace vivace::cuda
