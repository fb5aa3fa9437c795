// expert_down of few rows in one launch: a block has 16 rows of y's matrix and a row of x, each of its warps the
// experts of other slots. What they give meets in shared memory, where it is weighted and added in the order of slots.
#include <algorithm>

#include "cuda/core/launch.h"
#include "cuda/ops/experts/arguments.h"
#include "cuda/ops/linear/fragments/block_products.h"

namespace vivace::cuda {
namespace {

constexpr int most_warps = 8;

// A unit of a warp and what it is multiplied with. All eight columns of a product are the same row of x.
template <class Codes>
struct SlotStage {
  static constexpr int rows = 8, row_bytes = 0;
  static constexpr int unit = Codes::layout().largest_unit();
  static constexpr int x = unit, scales = x + BlockLayout::columns, sums = scales + 4 * unit_blocks * rows;
  static constexpr int parts = Codes::layout().halves ? 2 : 1;
  static constexpr int sum_bytes = Codes::has_min ? 4 * unit_blocks * rows : 0;
  static constexpr int bytes = sums + parts * sum_bytes;
  static constexpr int stages = 4;
  static constexpr int ring = stages * bytes;
  static_assert(most_warps * ring + 64 * most_warps <= 99 * 1024 && bytes % 16 == 0);
};

// Brings the next unit of a warp: its lanes have the same pieces of every one.
template <class Codes>
struct SlotCopies {
  using Stage = SlotStage<Codes>;
  static constexpr int block_bytes = static_cast<int>(sizeof(A8Block));

  const uint8_t *weight, *x;
  int left;  // blocks of 32 columns from the next unit on

  __device__ void next(const Shared<uint8_t>& stage, bool odd) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int chunks = (Codes::layout().scale_bytes(odd ? 1 : 0) + Codes::layout().code_bytes()) / 16;
    UNROLL
    for (int i = 0; i < Stage::unit / 16; i += 32)
      if (lane + i < chunks) copy_async<16>(stage, static_cast<size_t>(16 * (lane + i)), weight + 16 * (lane + i));
    if (lane < 2 * unit_blocks)
      copy_async<16>(stage, static_cast<size_t>(Stage::x + 16 * lane),
                     x + lane / 2 * block_bytes + offsetof(A8Block, codes) + lane % 2 * 16, lane / 2 < left);
    const bool there = lane / 8 < left;
    const uint8_t* block = x + lane / 8 * block_bytes;
    copy_async<4>(stage, static_cast<size_t>(Stage::scales + 4 * lane), block, there);
    if constexpr (Codes::has_min) UNROLL
    for (int p = 0; p < Stage::parts; ++p)
      copy_async<4>(stage, static_cast<size_t>(Stage::sums + p * Stage::sum_bytes + 4 * lane),
                    block + offsetof(A8Block, scaled_sums) + 4 * (Stage::parts == 2 ? p : A8Block::all), there);
    weight += 16 * chunks;
    x += unit_blocks * block_bytes;
    left -= unit_blocks;
  }
};

// The products of a warp's strip with a pair; every lane has those of rows g and g + 8.
template <class Codes>
__device__ inline void multiply_slot(const ExpertSums& a, const Shared<uint8_t>& ring, int expert, int64_t pair,
                                     float (&product)[2]) {
  using Stage = SlotStage<Codes>;
  constexpr BlockLayout layout = Codes::layout();
  constexpr int stages = Stage::stages;
  const int units = static_cast<int>(layout.units(a.columns));
  SlotCopies<Codes> copies{a.weight + expert * a.expert_bytes + blockIdx.x * layout.strip_bytes(a.columns),
                           a.x + pair * a.x_stride, a.columns / 32};
  __syncwarp();  // nobody reads what was there
  for (int i = 0; i < stages - 1; ++i) {
    if (i < units) copies.next(ring + i * Stage::bytes, i % 2 == 1);
    commit_copies();
  }
  typename Codes::Scales scales;
  WarpSums<1> sums, total;
  for (int unit = 0; unit < units; ++unit) {
    wait_copies<stages - 2>();
    __syncwarp();  // all lanes' copies are there, and nobody reads the stage that is filled next
    const int next = unit + stages - 1;
    if (next < units) copies.next(ring + next % stages * Stage::bytes, next % 2 == 1);
    commit_copies();
    const auto stage = ring + unit % stages * Stage::bytes;
    add_block_unit<Codes, 1, Stage>(stage, stage, unit % 2 == 1, scales, sums);
    if ((unit + 1) % slice_units == 0 || unit + 1 == units) {
      total.add(sums);
      sums.clear();
    }
  }
  wait_copies<0>();
  product[0] = total.values[0][0];
  product[1] = total.values[0][2];
}

template <class Codes>
__global__ void __launch_bounds__(32 * most_warps, 1) add_experts(ExpertSums a) {
  using Stage = SlotStage<Codes>;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int warps = static_cast<int>(blockDim.x / 32), row = static_cast<int>(blockIdx.y);
  const auto ring = dynamic_shared<uint8_t>(static_cast<size_t>(warp * Stage::ring), Stage::ring);
  const auto products =
      dynamic_shared<float>(static_cast<size_t>(warps * Stage::ring), static_cast<size_t>(16 * warps));
  float sum = 0;
  for (int from = 0; from < a.used; from += warps) {
    const int slot = from + warp;
    const int64_t pair = static_cast<int64_t>(row) * a.used + slot;
    const int expert = slot < a.used ? a.ids[pair] : -1;
    float product[2] = {};
    if (expert >= 0 && expert < a.experts) multiply_slot<Codes>(a, ring, expert, pair, product);
    if (lane % 4 == 0) UNROLL
    for (int half = 0; half < 2; ++half) products[16 * warp + lane / 4 + 8 * half] = product[half];
    __syncthreads();
    if (thread < 16)
      for (int i = 0; i < warps && from + i < a.used; ++i) {
        const int64_t at = static_cast<int64_t>(row) * a.used + from + i;
        if (a.ids[at] >= 0 && a.ids[at] < a.experts) sum = fmaf(a.weights[at], products[16 * i + thread], sum);
      }
    __syncthreads();
  }
  if (thread >= 16) return;
  const int64_t at = static_cast<int64_t>(row) * a.out + static_cast<int64_t>(blockIdx.x) * 16 + thread;
  a.y[at] = a.residual != nullptr ? sum + a.residual[at] : sum;
}

template <class Codes>
void run(const ExpertSums& a, cudaStream_t stream) {
  const int warps = std::min(a.used, most_warps);
  const size_t shared = static_cast<size_t>(warps) * (SlotStage<Codes>::ring + 64);
  launch<add_experts<Codes>>(Launch{dim3(static_cast<unsigned>(a.out / 16), static_cast<unsigned>(a.rows)),
                                    dim3(static_cast<unsigned>(32 * warps)), shared, stream},
                             a);
}

}  // namespace

void run_expert_sums(const ExpertSums& a, cudaStream_t stream) {
  switch (a.dtype) {
    case DType::Q4_0:
      return run<FragmentsQ4_0>(a, stream);
    case DType::Q4_1:
      return run<FragmentsQ4_1>(a, stream);
    case DType::Q5_0:
      return run<FragmentsQ5_0>(a, stream);
    case DType::Q5_1:
      return run<FragmentsQ5_1>(a, stream);
    case DType::Q2_K:
      return run<FragmentsQ2_K>(a, stream);
    case DType::Q3_K:
      return run<FragmentsQ3_K>(a, stream);
    case DType::IQ4_NL:
      return run<FragmentsIQ4_NL>(a, stream);
    case DType::IQ4_XS:
      return run<FragmentsIQ4_XS>(a, stream);
    case DType::Q4_K:
      return run<FragmentsQ4_K>(a, stream);
    case DType::Q5_K:
      return run<FragmentsQ5_K>(a, stream);
    case DType::Q6_K:
      return run<FragmentsQ6_K>(a, stream);
    default:
      return run<FragmentsQ8_0>(a, stream);
  }
}

}  // namespace vivace::cuda
