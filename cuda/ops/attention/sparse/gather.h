// Exact attention over the cells that rows have chosen: the blocks of attention over few rows, whose strips are chosen
// cells, up to sixteen of them wherever they lie. Chunks of chosen cells are merged as chunks of slots are.
#pragma once
#include "cuda/ops/attention/decode/decode.h"
#include "cuda/ops/attention/sparse/choice.h"
#include "cuda/ops/attention/sparse/sparse.h"

namespace vivace::cuda {

// Chosen cells [from, to) of a list.
struct ChosenWork {
  int from, to;
  const int32_t* cells;

  __device__ bool plain(int) const { return false; }
  __device__ int cell(const DeviceBatch&, int slot, int end) const { return slot < end ? cells[slot] : 0; }
};

// Groups of a call are here the query heads that share a list.
template <class Keys, class Values, int VT, int NT, int warps>
__global__ void __launch_bounds__(32 * warps, decode_blocks<NT, warps>)
    gather_chunks(DecodeCall call, int lists, int window) {
  using Block = DecodeBlock<Keys, Values, VT, NT, warps>;
  const DeviceBatch& batch = call.batch;
  const PolicySizes& sizes = batch.sizes->policy;
  const int64_t count = int64_t{sizes.choosing} * call.passes * lists * sizes.chunks;
  for (int64_t index = blockIdx.x; index < count; index += gridDim.x) {
    const int list = static_cast<int>(index % lists), pass = static_cast<int>(index / lists % call.passes);
    const int chunk = static_cast<int>(index / lists / call.passes % sizes.chunks);
    const ChoosingRow& own = choosing_row(batch, static_cast<int>(index / lists / call.passes / sizes.chunks));
    const VisibleSlots seen = visible_slots(batch, own.row, window);
    const int wanted = choice_of(batch, call.kv.labels, own.row, seen), size = chunk_of(wanted);
    if (chunk * size >= wanted) continue;
    const float* memory = policy_memory(batch, call.states);
    const auto* cells = reinterpret_cast<const int32_t*>(memory + own.cells) + int64_t{list} * own.wanted;
    const int kv_head = list / (lists / call.kv.kv_heads);
    const RowUnit unit = {own.row, 1, size, 0, 0};
    const Block block = {call, unit, list, pass * Block::columns};
    const StripPlace place(batch, call.kv, own.row, call.layer, kv_head);
    block.attend(0, 1, ChosenWork{chunk * size, min(chunk * size + size, wanted), cells}, place, chunk);
  }
}

template <class Keys, class Values, int VT, int NT, int warps>
bool start_gather(const DeviceRun& run, DecodeCall call, const SparseCall& sparse) {
  using Block = DecodeBlock<Keys, Values, VT, NT, warps>;
  const size_t shared = Block::shared_bytes(call.kv.key_dim, call.kv.value_dim);
  const int blocks = resident_blocks<NT, warps>(run, shared);
  if (blocks == 0) return false;
  call.group = call.heads / sparse.lists;
  call.passes = (call.group + Block::columns - 1) / Block::columns;
  launch<gather_chunks<Keys, Values, VT, NT, warps>>(
      Launch{dim3(static_cast<unsigned>(blocks)), dim3(Block::threads), shared, run.stream}, call, sparse.lists,
      sparse.window);
  return true;
}

template <class Keys, class Values, int VT, int NT, int warps>
bool gather_widest(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse) {
  return (call.heads / sparse.lists > 8 && start_gather<Keys, Values, VT, NT, warps>(run, call, sparse)) ||
         start_gather<Keys, Values, VT, 1, warps>(run, call, sparse);
}

template <class Keys, class Values, int wide_warps = 4, int widest_warps = 2>
bool gather(const DeviceRun& run, const DecodeCall& call, const SparseCall& sparse) {
  if (call.kv.value_dim <= 64) return gather_widest<Keys, Values, 4, 4, 4>(run, call, sparse);
  if (call.kv.value_dim <= 128) return gather_widest<Keys, Values, 8, 4, wide_warps>(run, call, sparse);
  return gather_widest<Keys, Values, 16, 2, widest_warps>(run, call, sparse);
}

}  // namespace vivace::cuda
