// A program that tries what kernels rely on, emulated or on a card, and prints a line per check: `ok name` or
// `FAILED name: why`. test/cuda/emulation.test.ts runs it.
#include "cuda/core/launch.h"
#include "cuda/core/shared.h"
#include "test/cuda/report.h"

namespace vivace::cuda {
namespace {

__global__ void block_sums(const float* in, float* out, int count) {
  SHARED(float, sums, 32);
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
    sum += in[static_cast<int>(blockIdx.x) * count + i];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    float all = threadIdx.x < blockDim.x / 32 ? static_cast<float>(sums[threadIdx.x]) : 0.0f;
    for (int step = 16; step > 0; step /= 2) all += __shfl_down_sync(0xffffffffu, all, step);
    if (threadIdx.x == 0) out[blockIdx.x] = all;
  }
}

void sums() {
  constexpr int blocks = 37, count = 301;
  std::vector<float> in(blocks * count);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>((i * 7) % 13) - 6.0f;
  DeviceArray<float> x(in), y(blocks);
  launch<block_sums>(Launch{dim3(blocks), dim3(256)}, static_cast<const float*>(x.get()), y.get(), count);
  check(cudaDeviceSynchronize(), "synchronize");
  bool good = true;
  const std::vector<float> out = y.values();
  for (int b = 0; b < blocks; ++b) {
    float wanted = 0;
    for (int i = 0; i < count; ++i) wanted += in[static_cast<size_t>(b * count + i)];
    good = good && out[static_cast<size_t>(b)] == wanted;  // whole numbers
  }
  report("sums of blocks by shuffles and shared memory", good);
}

__global__ void lanes(int* out) {
  const int lane = static_cast<int>(threadIdx.x % 32), at = static_cast<int>(threadIdx.x) * 10;
  out[at] = __shfl_sync(0xffffffffu, lane * 3, lane + 5);
  out[at + 1] = __shfl_up_sync(0xffffffffu, lane, 3);
  out[at + 2] = __shfl_down_sync(0xffffffffu, lane, 3, 8);
  out[at + 3] = __shfl_xor_sync(0xffffffffu, lane, 9);
  out[at + 4] = static_cast<int>(__ballot_sync(0xffffffffu, lane % 3 == 0));
  out[at + 5] = __any_sync(0xffffffffu, lane == 7) * 2 + __all_sync(0xffffffffu, lane < 32);
  out[at + 6] = __reduce_add_sync(0xffffffffu, lane);
  out[at + 7] = __reduce_max_sync(0xffffffffu, lane * (lane % 5));
  // Halves of a warp go their own ways.
  out[at + 8] = lane < 16 ? __shfl_sync(0x0000ffffu, lane, 2) : __shfl_sync(0xffff0000u, lane, 20);
  out[at + 9] = __syncthreads_count(lane % 2);
}

void warps() {
  constexpr int threads = 64;
  DeviceArray<int> out(threads * 10);
  launch<lanes>(Launch{dim3(1), dim3(threads)}, out.get());
  const std::vector<int> got = out.values();
  std::string wrong;
  for (int t = 0; t < threads; ++t) {
    const int lane = t % 32;
    const int wanted[10] = {(lane + 5) % 32 * 3,
                            lane < 3 ? lane : lane - 3,
                            lane % 8 + 3 >= 8 ? lane : lane + 3,
                            lane ^ 9,
                            0x49249249,
                            3,
                            496,
                            29 * 4,
                            lane < 16 ? 2 : 20,
                            threads / 2};
    for (int i = 0; i < 10; ++i)
      if (got[static_cast<size_t>(t * 10 + i)] != wanted[i] && wrong.empty())
        wrong = "thread " + std::to_string(t) + ", operation " + std::to_string(i) + ": " +
                std::to_string(got[static_cast<size_t>(t * 10 + i)]) + " instead of " + std::to_string(wanted[i]);
  }
  report("shuffles, votes and reductions of warps", wrong.empty(), wrong);
}

__global__ void count_up(int* counter, int* order) {
  const int at = atomicAdd(counter, 1);
  order[at] = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicMax(counter + 1, at);
}

void atomics() {
  constexpr int blocks = 20, threads = 100;
  DeviceArray<int> counter(std::vector<int>{0, 0}), order(blocks * threads);
  launch<count_up>(Launch{dim3(blocks), dim3(threads)}, counter.get(), order.get());
  std::vector<int> seen(blocks * threads);
  for (int i : order.values()) ++seen[static_cast<size_t>(i)];
  bool good = counter.values()[0] == blocks * threads && counter.values()[1] == blocks * threads - 1;
  for (int times : seen) good = good && times == 1;
  report("atomics over all blocks", good);
}

__global__ void shift(float* data, int by) {
  Shared<float> row = dynamic_shared<float>(64, 128);
  store_as<float4>(row, threadIdx.x * 4, load_as<float4>(data, (blockIdx.x * 32 + threadIdx.x) * 4));
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 128; i += 32)
    data[blockIdx.x * 128 + static_cast<unsigned>(i)] = row[(i + by) % 128];
}

void graphs() {
  std::vector<float> in(3 * 128);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
  DeviceArray<float> data(in);
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "stream");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  launch<shift>(Launch{dim3(3), dim3(32), 64 + 512, stream}, data.get(), 1);
  launch<shift>(Launch{dim3(3), dim3(32), 64 + 512, stream}, data.get(), 2);
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  check(cudaStreamEndCapture(stream, &graph), "end of capture");
  check(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  const bool untouched = data.values() == in;
  for (int i = 0; i < 5; ++i) check(cudaGraphLaunch(exec, stream), "launch");
  check(cudaStreamSynchronize(stream), "synchronize");
  const std::vector<float> out = data.values();
  bool good = untouched;
  for (size_t i = 0; i < out.size(); ++i) good = good && out[i] == in[i / 128 * 128 + (i + 15) % 128];
  check(cudaGraphExecDestroy(exec), "destroy");
  check(cudaGraphDestroy(graph), "destroy");
  check(cudaStreamDestroy(stream), "destroy");
  report("a captured graph does its work when it is launched, every time", good);
}

#if !defined(__CUDACC__)
void failures_asked_for() {
  emulation::limit_memory(1 << 20);
  std::string code;
  try {
    DeviceArray<int> large(1 << 20);
  } catch (const Error& error) {
    code = error.code();
  }
  emulation::limit_memory(0);
  DeviceArray<int> again(1 << 20);
  report("no memory is an error, and passes", code == "OUT_OF_MEMORY");
  emulation::fail_call(2, cudaErrorIllegalAddress);
  const bool first = cudaDeviceSynchronize() == cudaSuccess, second = cudaDeviceSynchronize() != cudaSuccess;
  const bool third = cudaDeviceSynchronize() != cudaSuccess;
  emulation::forget_errors();
  report("an injected failure comes when it was asked for, and stays", first && second && third);
}
#else
void failures_asked_for() {}
#endif

}  // namespace
}  // namespace vivace::cuda

int main() {
  using namespace vivace::cuda;
  return run_checks([] {
    sums();
    warps();
    atomics();
    graphs();
    failures_asked_for();
  });
}
