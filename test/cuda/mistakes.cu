// Mistakes in kernels that a card would hide or answer with an address: each must be reported with kernel, block and
// thread, and what looks like one of them but is right must not. Emulated only.
#include "cuda/core/copy.h"
#include "cuda/core/launch.h"
#include "test/cuda/report.h"

namespace vivace::cuda {
namespace {

int rank() {
  return static_cast<int>(threadIdx.x);
}

// Barriers and exchange.
__global__ void not_all_reach(int* out) {
  if (rank() != 3) __syncthreads();
  out[rank()] = 1;
}
__global__ void lane_missing(int* out) {
  out[rank()] = rank() == 5 ? 0 : __shfl_sync(0xffffffffu, 1, 0);
}
__global__ void lane_not_in_mask(int* out) {
  out[rank()] = __shfl_sync(0xfffffff7u, 1, 0);
}
__global__ void reads_lane_left_out(int* out) {
  if (rank() % 32 < 16) out[rank()] = __shfl_sync(0x0000ffffu, 1, 20);
}
__global__ void different_operations(int* out) {
  out[rank()] = rank() % 2 == 0 ? __shfl_sync(0xffffffffu, 1, 0) : __any_sync(0xffffffffu, 1);
}

// Places.
__global__ void reads_unwritten(int* out) {
  SHARED(int, values, 64);
  if (rank() < 32) values[rank()] = 1;
  __syncthreads();
  out[rank()] = values[rank()];
}
__global__ void reads_beyond_shared(int* out) {
  SHARED(int, values, 32);
  SHARED(int, next, 64);
  if (rank() < 32) values[rank()] = 1;
  next[rank()] = 2;
  __syncthreads();
  out[rank()] = values[rank()];
}
__global__ void writes_before_shared(int* out) {
  SHARED(int, values, 64);
  values[rank() - 1] = 1;
  out[rank()] = 1;
}
__global__ void misaligned_shared(int* out) {
  SHARED(int, values, 64);
  values[rank()] = 1;
  __syncthreads();
  out[rank()] = load_as<int4>(values, 1).x;
}
__global__ void misaligned_global(int* out) {
  store_as<int2>(out, static_cast<size_t>(rank() / 32 * 2 + 1), make_int2(1, 1));
}
__global__ void beyond_dynamic(int* out) {
  out[rank()] = dynamic_shared<int>(64, 64)[rank()];
}
__global__ void too_much_shared(int* out) {
  SHARED(int, values, 60000);
  values[rank()] = 1;
  out[rank()] = 1;
}
__global__ void reads_beyond_global(int* out) {
  if (out[rank() + 1] == 12345) out[rank()] = 1;
}
__global__ void writes_beyond_global(int* out) {
  out[rank() + 1] = 1;
}
__global__ void writes_before_global(int* out) {
  out[rank() - 1] = 1;
}
__global__ void null_pointer(int* out) {
  out = nullptr;
  out[rank()] = 1;
}

// Races.
__global__ void writes_twice(int* out) {
  SHARED(int, value, 1);
  if (rank() % 32 == 0) value[0] = rank();
  __syncthreads();
  out[rank()] = value[0];
}
__global__ void adds_to_what_others_write(int* out) {
  SHARED(int, value, 1);
  if (rank() == 0) value[0] = 1;
  add_shared(value, 0, 1);
  __syncthreads();
  out[rank()] = value[0];
}
__global__ void reads_what_others_add_to(int* out) {
  SHARED(int, value, 1);
  if (rank() == 0) value[0] = 1;
  __syncthreads();
  add_shared(value, 0, 1);
  out[rank()] = value[0];
}
__global__ void no_barrier_before_read(int* out) {
  SHARED(int, values, 64);
  values[rank()] = rank();
  if (rank() >= 32) out[rank()] = values[rank() - 32];
}
__global__ void no_barrier_before_read_above(int* out) {
  SHARED(int, values, 64);
  values[rank()] = 1;
  __syncthreads();
  values[rank()] = rank();
  if (rank() < 32) out[rank()] = values[rank() + 32];
}
// One thread writes a byte, another one reads the word that has it; and the other way round.
__global__ void byte_in_a_word(int* out) {
  SHARED(uint8_t, values, 64);
  values[rank()] = 1;
  __syncthreads();
  if (rank() == 1) values[1] = 2;
  if (rank() == 40) out[0] = static_cast<int>(load_as<uint32_t>(values, 0));
}
__global__ void word_around_a_byte(int* out) {
  SHARED(uint8_t, values, 64);
  if (rank() == 0) store_as<uint32_t>(values, 0, 1u);
  __syncthreads();
  if (rank() == 0) store_as<uint32_t>(values, 0, 2u);
  if (rank() == 40) out[0] = values[3];
}
// The second barrier of a loop is forgotten: the next turn may overwrite what others still read.
__global__ void no_barrier_after_read(int* out) {
  SHARED(int, value, 1);
  for (int turn = 0; turn < 2; ++turn) {
    if (rank() == 0) value[0] = turn;
    __syncthreads();
    out[rank()] = value[0];
  }
}
// Who reads last writes as well.
__global__ void last_reader_writes(int* out) {
  SHARED(int, value, 1);
  if (rank() == 0) value[0] = 1;
  __syncthreads();
  out[rank()] = value[0];
  if (rank() == 63) value[0] = 2;
}
__global__ void no_syncwarp(int* out) {
  SHARED(int, values, 64);
  values[rank()] = -1;
  __syncthreads();
  values[rank()] = rank();
  out[rank()] = values[rank() ^ 1];
}
__global__ void shuffle_is_no_syncwarp(int* out) {
  SHARED(int, values, 64);
  values[rank()] = -1;
  __syncthreads();
  values[rank()] = rank();
  out[rank()] = __shfl_sync(0xffffffffu, 1, 0);
  out[rank()] = values[rank() ^ 1];
}
// The first half has written and is done with its barrier when the other one reads; nothing says that it must be.
__global__ void halves_sync_apart(int* out) {
  SHARED(int, values, 64);
  values[rank()] = -1;
  __syncthreads();
  if (rank() % 32 < 16) {
    values[rank()] = 1;
    __syncwarp(0x0000ffffu);
  } else {
    __syncwarp(0xffff0000u);
    out[rank()] = values[rank() - 16];
  }
}
__global__ void syncwarp_across_warps(int* out) {
  SHARED(int, values, 64);
  values[rank()] = -1;
  __syncthreads();
  values[rank()] = rank();
  __syncwarp();
  out[rank()] = values[rank() ^ 32];
}

// Asynchronous copies.
__global__ void copy_not_awaited(int* out) {
  SHARED(int, values, 64);
  copy_async<4>(values, threadIdx.x, out + rank());
  commit_copies();
  __syncthreads();
  out[rank()] = values[rank()];
}
// One group too many may be under way: what is read is what was there before.
__global__ void waits_for_too_few(int* out) {
  SHARED(int, values, 128);
  values[rank()] = values[rank() + 64] = 0;
  for (int group = 0; group < 2; ++group) {
    copy_async<4>(values, threadIdx.x + static_cast<size_t>(group) * 64, out + rank());
    commit_copies();
  }
  wait_copies<1>();
  __syncthreads();
  out[rank()] = values[rank()] + values[rank() + 64];
}
__global__ void copy_not_committed(int* out) {
  SHARED(int, values, 64);
  copy_async<4>(values, threadIdx.x, out + rank());
  wait_copies<0>();
  out[rank()] = values[rank()];
}
__global__ void awaited_without_barrier(int* out) {
  SHARED(int, values, 64);
  values[rank()] = -1;
  __syncthreads();
  copy_async<4>(values, threadIdx.x, out + rank());
  commit_copies();
  wait_copies<0>();
  out[rank()] = values[63 - rank()] * 0;
}
// The stage is filled again while others still read it: those that come later, and those that came before.
__global__ void stage_filled_too_early(int* out) {
  SHARED(int, values, 64);
  values[rank()] = 1;
  __syncthreads();
  const int seen = values[63 - rank()];
  copy_async<4>(values, threadIdx.x, out + rank());
  commit_copies();
  wait_copies<0>();
  __syncthreads();
  out[rank()] = seen;
}
__global__ void stage_filled_too_early_below(int* out) {
  SHARED(int, values, 64);
  values[rank()] = 1;
  __syncthreads();
  const int seen = values[63 - rank()];
  if (rank() >= 32) copy_async<4>(values, threadIdx.x, out + rank());
  commit_copies();
  wait_copies<0>();
  __syncthreads();
  out[rank()] = seen;
}
__global__ void writes_under_a_copy(int* out) {
  SHARED(int, values, 64);
  copy_async<4>(values, threadIdx.x, out + rank());
  commit_copies();
  values[rank()] = 1;
}
__global__ void two_copies_at_once(int* out) {
  SHARED(int, values, 64);
  for (int i = 0; i < 2; ++i) {
    copy_async<4>(values, threadIdx.x, out + rank());
    commit_copies();
  }
}
__global__ void copy_from_misaligned(int* out) {
  SHARED(int, values, 256);
  copy_async<16>(values, threadIdx.x * 4, out + 1);
}

// Right, though it resembles the above. All give 1 in every place.
__global__ void neighbouring_bytes(int* out) {
  SHARED(uint8_t, values, 64);
  values[rank()] = 1;
  __syncthreads();
  const unsigned word = load_as<uint32_t>(values, static_cast<size_t>(rank() / 4 * 4));
  __syncthreads();
  values[rank()] = static_cast<uint8_t>(word >> 8);
  out[rank()] = values[rank()];
}
__global__ void same_value(int* out) {
  SHARED(int, value, 1);
  value[0] = 1;
  __syncthreads();
  out[rank()] = value[0];
}
__global__ void adds_together(int* out) {
  SHARED(int, value, 2);
  if (rank() < 2) value[rank()] = 0;
  __syncthreads();
  add_shared(value, rank() % 2, 1);
  __syncthreads();
  out[rank()] = value[rank() % 2] == 32 ? 1 : 0;
}
__global__ void turns_with_syncwarp(int* out) {
  SHARED(int, values, 64);
  values[rank()] = rank();
  for (int step = 1; step < 32; step *= 2) {
    __syncwarp();
    const int other = values[rank() ^ step];
    __syncwarp();
    values[rank()] = other;
  }
  __syncthreads();
  out[rank()] = values[rank() ^ 31] == rank() ? 1 : 0;
}
// Lane 0 tells half a warp, one of which tells the other half.
__global__ void told_by_another(int* out) {
  SHARED(int, values, 2);
  const int warp = rank() / 32, lane = rank() % 32;
  if (lane == 0) values[warp] = 1;
  if (lane < 16) __syncwarp(0x0000ffffu);
  if (lane >= 15) __syncwarp(0xffff8000u);
  out[rank()] = values[warp];
}
__global__ void copies_in_turns(int* out) {
  SHARED(int, values, 2 * 64);
  int sum = 0;
  copy_async<4>(values, threadIdx.x, out + rank());
  commit_copies();
  for (int turn = 0; turn < 4; ++turn) {
    copy_async<4>(values, static_cast<size_t>((turn + 1) % 2 * 64 + rank()), out + rank());
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    sum += values[turn % 2 * 64 + 63 - rank()];
    __syncthreads();
  }
  wait_copies<0>();
  out[rank()] = sum / 4;
}

struct Answer {
  std::string code, said;
  std::vector<int> out;
};
template <auto kernel>
Answer run(size_t shared_bytes = 0) {
  Answer answer;
  DeviceArray<int> out(std::vector<int>(64, 1));
  try {
    launch<kernel>(Launch{dim3(1, 2), dim3(64), shared_bytes}, out.get());
    check(cudaDeviceSynchronize(), "synchronize");
    answer.out = out.values();
  } catch (const Error& error) {
    answer.code = error.code();
  }
  answer.said = emulation::last_report();
  if (answer.code != "" && cudaDeviceSynchronize() == cudaSuccess) answer.code = "passed";
  emulation::forget_errors();
  return answer;
}

// `name` is written out so that the kernel's recorded name is tested too.
template <auto kernel>
void wrong(const char* name, const char* words, const char* thread, size_t shared_bytes = 0) {
  const Answer answer = run<kernel>(shared_bytes);
  const bool good = answer.code == "DEVICE_LOST" && answer.said.find(std::string(name) + ": ") == 0 &&
                    answer.said.find(words) != std::string::npos && answer.said.find(thread) != std::string::npos;
  report((std::string("reported: ") + name).c_str(), good, answer.code + " " + answer.said);
}
#define WRONG(kernel, ...) wrong<kernel>(#kernel, __VA_ARGS__)

template <auto kernel>
void right(const char* name) {
  const Answer answer = run<kernel>();
  const bool good = answer.code.empty() && answer.out == std::vector<int>(64, 1);
  report((std::string("not reported: ") + name).c_str(), good, answer.code + " " + answer.said);
}
#define RIGHT(kernel) right<kernel>(#kernel)

void barriers() {
  WRONG(not_all_reach, "not all threads reach a barrier: 63 wait at __syncthreads", "thread (0, 0, 0)");
  WRONG(lane_missing, "31 for lanes of their warp", "block (0, 0, 0)");
  WRONG(lane_not_in_mask, "whose mask leaves it out", "block (0, 0, 0), thread (3, 0, 0)");
  WRONG(reads_lane_left_out, "a shuffle reads a lane that its mask leaves out", "block (0, 0, 0)");
  WRONG(different_operations, "lanes of one mask meet in different operations", "thread (1, 0, 0)");
}
void places() {
  WRONG(reads_unwritten, "that nothing wrote, byte 128", "thread (32, 0, 0)");
  WRONG(reads_beyond_shared, "a read of 4 bytes beyond a shared array of 128 bytes, at byte 128", "thread (32, 0, 0)");
  WRONG(writes_before_shared, "a write of 4 bytes beyond a shared array of 256 bytes, at byte -4", "thread (0, 0, 0)");
  WRONG(misaligned_shared, "misaligned", "thread (0, 0, 0)");
  WRONG(misaligned_global, "a write of 8 bytes of global memory: misaligned", "thread (0, 0, 0)");
  WRONG(beyond_dynamic, "an array of 256 bytes at 64 of 256 bytes of dynamic", "thread (0, 0, 0)", 256);
  WRONG(too_much_shared, "more than 227 KiB", "thread (0, 0, 0)");
  WRONG(reads_beyond_global, "outside of the device's allocations", "thread (63, 0, 0)");
  WRONG(writes_beyond_global, "outside of the device's allocations", "thread (63, 0, 0)");
  WRONG(writes_before_global, "wrote beyond an allocation of 256 bytes", "");
  WRONG(null_pointer, "address 0x0,", "thread (0, 0, 0)");
}
void races() {
  WRONG(writes_twice, "a race: it writes byte 0 of a shared array of 4 bytes, which thread 0 writes too",
        "thread (32, 0, 0)");
  WRONG(adds_to_what_others_write, "which thread 0 writes with no barrier", "thread (1, 0, 0)");
  WRONG(reads_what_others_add_to, "a race: it", "block (0, 0, 0)");
  WRONG(no_barrier_before_read, "which thread 0 writes with no barrier", "thread (32, 0, 0)");
  WRONG(no_barrier_before_read_above, "which thread 0 reads with no barrier", "thread (32, 0, 0)");
  WRONG(byte_in_a_word, "which thread 1 writes", "thread (40, 0, 0)");
  WRONG(word_around_a_byte, "byte 3 of a shared array of 64 bytes, which thread 0 writes", "thread (40, 0, 0)");
  WRONG(no_barrier_after_read, "it reads byte 0 of a shared array of 4 bytes, which thread 0 writes",
        "thread (1, 0, 0)");
  WRONG(last_reader_writes, "which thread 31 reads", "thread (63, 0, 0)");
  WRONG(no_syncwarp, "which thread 0 reads", "thread (1, 0, 0)");
  WRONG(shuffle_is_no_syncwarp, "a race: it reads", "block (0, 0, 0)");
  WRONG(halves_sync_apart, "a race: it reads", "block (0, 0, 0)");
  WRONG(syncwarp_across_warps, "a race: it", "block (0, 0, 0)");
}
void copies() {
  WRONG(copy_not_awaited, "to which an asynchronous copy is under way", "thread (0, 0, 0)");
  WRONG(waits_for_too_few, "byte 256 of a shared array of 512 bytes to which an asynchronous copy is under way",
        "thread (0, 0, 0)");
  WRONG(copy_not_committed, "to which an asynchronous copy is under way", "thread (0, 0, 0)");
  WRONG(awaited_without_barrier, "a race: it", "block (0, 0, 0)");
  WRONG(stage_filled_too_early, "which thread 31 writes with no barrier", "thread (32, 0, 0)");
  WRONG(stage_filled_too_early_below,
        "a race: it starts a copy to byte 128 of a shared array of 256 bytes, which thread 31 reads",
        "thread (32, 0, 0)");
  WRONG(writes_under_a_copy, "a write to byte 0", "thread (0, 0, 0)");
  WRONG(two_copies_at_once, "to which another one is under way", "thread (0, 0, 0)");
  WRONG(copy_from_misaligned, "its source is misaligned", "thread (0, 0, 0)");
}
void no_mistakes() {
  RIGHT(neighbouring_bytes);
  RIGHT(same_value);
  RIGHT(adds_together);
  RIGHT(turns_with_syncwarp);
  RIGHT(told_by_another);
  RIGHT(copies_in_turns);
}

void freed_memory() {
  int* gone = nullptr;
  check(cudaMalloc(&gone, 256), "cudaMalloc");
  check(cudaFree(gone), "cudaFree");
  std::string code;
  try {
    launch<writes_before_global>(Launch{dim3(1), dim3(64)}, gone);
  } catch (const Error& error) {
    code = error.code();
  }
  report("reported: freed memory", code == "DEVICE_LOST", emulation::last_report());
  emulation::forget_errors();
}

void guards_without_pages() {
  emulation::guard_pages(false);
  const Answer answer = run<writes_beyond_global>();
  report("reported: a write beyond an allocation, without guard pages",
         answer.said.find("writes_beyond_global: wrote beyond an allocation of 256 bytes") == 0, answer.said);
  emulation::guard_pages(true);
}

}  // namespace
}  // namespace vivace::cuda

int main() {
  using namespace vivace::cuda;
  return run_checks([] {
    barriers();
    places();
    races();
    copies();
    no_mistakes();
    freed_memory();
    guards_without_pages();
  });
}
