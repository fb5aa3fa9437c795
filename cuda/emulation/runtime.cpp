#include "cuda/emulation/runtime.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cuda/emulation/global_memory.h"

using vivace::emulation::Block;
using vivace::emulation::LaunchInfo;
using Clock = std::chrono::steady_clock;

struct vivace_graph {
  std::vector<std::function<cudaError_t()>> steps;
};
struct vivace_graph_exec {
  std::shared_ptr<const std::vector<std::function<cudaError_t()>>> steps;
};
struct vivace_stream {
  std::unique_ptr<vivace_graph> captured;
  // With VIVACE_EMULATED_LATE: what was given to it and nobody has waited for.
  std::mutex mutex;
  std::deque<std::function<cudaError_t()>> late;
  uint64_t given = 0, done = 0;
};
struct vivace_event {
  Clock::time_point time;
  vivace_stream* stream = nullptr;
  uint64_t place = 0;  // among what was given to the stream
};

namespace {

constexpr int multiprocessors = 4;

std::mutex state_mutex;
vivace::emulation::GlobalMemory memory;
std::set<std::string> launched;
std::string report, listed;
// After a kernel failed, everything fails until forget_errors(), as a spoilt context does.
std::atomic<cudaError_t> spoilt{cudaSuccess};
thread_local cudaError_t last = cudaSuccess;
// A kernel broke and nobody has heard of it: what comes after it does nothing, and who waits is told.
std::atomic<bool> broken{false};
std::atomic<int> calls_left{0};
std::atomic<cudaError_t> injected{cudaSuccess};

bool spoils(cudaError_t error) {
  return error == cudaErrorLaunchFailure || error == cudaErrorIllegalAddress;
}

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last = error;
  return error;
}

// VIVACE_EMULATED_FAULT=kernel or kernel:n in the environment: its n-th run breaks, as one that leaves its memory does
// on a card, whose launches succeed first.
class Fault {
 public:
  Fault() {
    const char* words = std::getenv("VIVACE_EMULATED_FAULT");
    if (words == nullptr) return;
    kernel_ = words;
    const size_t colon = kernel_.find(':');
    if (colon != std::string::npos) left_ = std::atoi(kernel_.c_str() + colon + 1);
    kernel_.resize(std::min(colon, kernel_.size()));
  }
  bool due(const char* kernel) { return kernel_ == kernel && --left_ == 0; }

 private:
  std::string kernel_;
  std::atomic<int> left_{1};
};
Fault fault;

// Every call that can fail begins here.
cudaError_t begin_call() {
  if (spoilt != cudaSuccess) return result(spoilt);
  if (calls_left > 0 && --calls_left == 0) {
    const cudaError_t error = injected;
    if (spoils(error)) spoilt = error;
    return result(error);
  }
  return cudaSuccess;
}

// Calls that wait for the card hear of what went wrong there.
cudaError_t begin_wait() {
  if (broken.exchange(false)) {
    std::lock_guard lock(state_mutex);
    if (spoilt == cudaSuccess) spoilt = cudaErrorIllegalAddress;
  }
  return begin_call();
}

// With VIVACE_EMULATED_LATE in the environment streams do nothing before somebody waits for it, and then no more than
// is waited for: memory that is used or given away too early shows.
const bool is_late = std::getenv("VIVACE_EMULATED_LATE") != nullptr;
std::mutex streams_mutex;
std::set<cudaStream_t> streams;

// Does what was given to a stream, up to a place.
void catch_up(cudaStream_t stream, uint64_t place) {
  std::lock_guard lock(stream->mutex);
  for (; stream->done < place && !stream->late.empty(); ++stream->done) {
    if (!broken) result(stream->late.front()());
    stream->late.pop_front();
  }
}

void catch_up_all() {
  if (!is_late) return;
  std::lock_guard lock(streams_mutex);
  for (cudaStream_t stream : streams) catch_up(stream, ~uint64_t{0});
}

// Does it now, or later, or keeps it for the graph.
cudaError_t on_stream(cudaStream_t stream, std::function<cudaError_t()> step) {
  if (const cudaError_t error = begin_call(); error != cudaSuccess) return error;
  if (stream != nullptr && stream->captured) {
    stream->captured->steps.push_back(std::move(step));
    return cudaSuccess;
  }
  if (is_late && stream != nullptr) {
    std::lock_guard lock(stream->mutex);
    stream->late.push_back(std::move(step));
    ++stream->given;
    return cudaSuccess;
  }
  return broken ? cudaSuccess : result(step());
}

void spoil(const std::string& what) {
  std::lock_guard lock(state_mutex);
  if (spoilt == cudaSuccess) report = what;
  spoilt = cudaErrorLaunchFailure;
}

void check_guards(const char* kernel) {
  if (const size_t bytes = memory.spoilt(); bytes != 0)
    spoil(std::string(kernel) + ": wrote beyond an allocation of " + std::to_string(bytes) + " bytes");
}

// For the test that every kernel has been run by some test: a file per name in the folder that VIVACE_EMULATED_KERNELS
// names.
void note(const char* kernel) {
  static const char* const folder = std::getenv("VIVACE_EMULATED_KERNELS");
  std::lock_guard lock(state_mutex);
  if (!launched.insert(kernel).second || folder == nullptr) return;
  if (std::FILE* file = std::fopen((std::string(folder) + "/" + kernel).c_str(), "w")) std::fclose(file);
}

// Blocks that are not running: their stacks and shared memory are used again.
class IdleBlocks {
 public:
  std::unique_ptr<Block> take() {
    std::lock_guard lock(mutex_);
    if (blocks_.empty()) return std::make_unique<Block>();
    std::unique_ptr<Block> block = std::move(blocks_.back());
    blocks_.pop_back();
    return block;
  }
  void give(std::unique_ptr<Block> block) {
    std::lock_guard lock(mutex_);
    blocks_.push_back(std::move(block));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Block>> blocks_;
};
IdleBlocks idle_blocks;

// Blocks wait for nobody but their own threads, so some machine threads take them one after the other.
void run_blocks(const LaunchInfo& info) {
  const size_t blocks = size_t{info.grid.x} * info.grid.y * info.grid.z;
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    std::unique_ptr<Block> block = idle_blocks.take();
    for (size_t i = next++; i < blocks && !failed; i = next++) {
      const auto x = static_cast<unsigned>(i % info.grid.x), y = static_cast<unsigned>(i / info.grid.x % info.grid.y);
      const auto z = static_cast<unsigned>(i / info.grid.x / info.grid.y);
      if (block->run(info, {x, y, z})) continue;
      failed = true;
      spoil(block->error());
    }
    idle_blocks.give(std::move(block));
  };
  const size_t threads = std::min<size_t>({blocks, 4, std::max(1u, std::thread::hardware_concurrency())});
  // Small grids do not pay for a thread.
  if (blocks * info.block.x * info.block.y * info.block.z < 4096 || threads < 2) {
    work();
    return;
  }
  std::vector<std::thread> others;
  for (size_t i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
}

}  // namespace

namespace vivace::emulation {

cudaError_t start_kernel(const char* name, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                         std::function<void()> body) {
  const size_t threads = size_t{block.x} * block.y * block.z;
  if (threads < 1 || threads > 1024 || block.z > 64 || grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.y > 65535 ||
      grid.z > 65535 || shared_bytes > 227 * 1024)
    return result(cudaErrorInvalidConfiguration);
  return on_stream(stream, [=, body = std::move(body)]() mutable {
    if (fault.due(name)) {
      broken = true;
      return cudaSuccess;
    }
    LaunchInfo info;
    info.name = name;
    info.grid = {grid.x, grid.y, grid.z};
    info.block = {block.x, block.y, block.z};
    info.dynamic_bytes = shared_bytes;
    info.body = [](void* function) { (*static_cast<std::function<void()>*>(function))(); };
    info.arguments = &body;
    note(name);
    run_blocks(info);
    check_guards(name);
    return spoilt.load();
  });
}

const char* last_report() {
  return report.c_str();
}
const char* kernels_launched() {
  std::lock_guard lock(state_mutex);
  listed.clear();
  for (const std::string& name : launched) listed += name + "\n";
  return listed.c_str();
}
void limit_memory(size_t bytes) {
  memory.limit(bytes);
}
void guard_pages(bool on) {
  memory.guard_pages(on);
}
void fail_call(int n, cudaError_t error) {
  injected = error;
  calls_left = n;
}
void forget_errors() {
  broken = false;
  spoilt = cudaSuccess;
  last = cudaSuccess;
  report.clear();
}

}  // namespace vivace::emulation

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    default:
      return "cudaErrorUnknown";
  }
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorLaunchFailure && !report.empty() ? report.c_str() : cudaGetErrorName(error);
}
cudaError_t cudaPeekAtLastError() {
  return spoilt != cudaSuccess ? spoilt.load() : last;
}
cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  last = cudaSuccess;
  return error;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return begin_call();
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? begin_call() : result(cudaErrorInvalidDevice);
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return begin_call();
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return result(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "emulated on this processor");
  properties->totalGlobalMem = memory.total();
  properties->multiProcessorCount = multiprocessors;
  properties->major = 9;
  properties->sharedMemPerBlockOptin = 227 * 1024;
  properties->l2CacheSize = 1 << 20;
  return begin_call();
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount      ? multiprocessors
           : attribute == cudaDevAttrComputeCapabilityMajor ? 9
           : attribute == cudaDevAttrComputeCapabilityMinor ? 0
                                                            : 227 * 1024;
  return begin_call();
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return begin_call();
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return begin_call();
}
cudaError_t cudaDeviceSynchronize() {
  catch_up_all();
  return begin_wait();
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  if (const cudaError_t error = begin_call(); error != cudaSuccess) return error;
  *data = nullptr;
  if (bytes == 0) return cudaSuccess;
  *data = memory.take(bytes);
  return *data != nullptr ? cudaSuccess : result(cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* data) {
  if (data == nullptr) return cudaSuccess;
  catch_up_all();  // as a card's driver does
  if (!memory.give(data)) return result(cudaErrorInvalidValue);
  return spoilt;
}
cudaError_t cudaMallocHost(void** data, size_t bytes) {
  if (const cudaError_t error = begin_call(); error != cudaSuccess) return error;
  *data = std::aligned_alloc(256, (bytes + 255) / 256 * 256 + 256);
  return *data != nullptr ? cudaSuccess : result(cudaErrorMemoryAllocation);
}
cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  return cudaMallocHost(data, bytes);
}
cudaError_t cudaFreeHost(void* data) {
  catch_up_all();
  std::free(data);
  return spoilt;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = memory.total();
  *free = memory.free();
  return begin_call();
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return on_stream(stream, [=] {
    if (bytes > 0) std::memmove(to, from, bytes);
    return cudaSuccess;
  });
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = begin_wait(); error != cudaSuccess) return error;
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return on_stream(stream, [=] {
    std::memset(to, value, bytes);
    return cudaSuccess;
  });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (const cudaError_t error = begin_call(); error != cudaSuccess) return error;
  *stream = new vivace_stream;
  std::lock_guard lock(streams_mutex);
  streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, 0);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  catch_up_all();
  {
    std::lock_guard lock(streams_mutex);
    streams.erase(stream);
  }
  delete stream;
  return spoilt;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream != nullptr && stream->captured) return result(cudaErrorStreamCaptureInvalidated);
  if (stream != nullptr) catch_up(stream, ~uint64_t{0});
  return begin_wait();
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return cudaStreamSynchronize(stream);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) {
  if (event->stream != nullptr) catch_up(event->stream, event->place);
  return begin_call();
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (const cudaError_t error = begin_call(); error != cudaSuccess) return error;
  if (stream == nullptr || stream->captured) return result(cudaErrorInvalidValue);
  stream->captured = std::make_unique<vivace_graph>();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (stream == nullptr || !stream->captured) return result(cudaErrorInvalidValue);
  *graph = stream->captured.release();
  return begin_call();
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (const cudaError_t error = begin_call(); error != cudaSuccess) return error;
  *exec = new vivace_graph_exec{std::make_shared<const std::vector<std::function<cudaError_t()>>>(graph->steps)};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return on_stream(stream, [steps = exec->steps] {
    for (const auto& step : *steps) {
      if (broken) return cudaSuccess;
      if (const cudaError_t error = step(); error != cudaSuccess) return error;
    }
    return cudaSuccess;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return spoilt;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return spoilt;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (const cudaError_t error = begin_call(); error != cudaSuccess) return error;
  *event = new vivace_event;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, 0);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  catch_up_all();
  delete event;
  return spoilt;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const cudaError_t error = on_stream(stream, [event] {
    event->time = Clock::now();
    return cudaSuccess;
  });
  event->stream = is_late ? stream : nullptr;
  event->place = stream != nullptr ? stream->given : 0;
  return error;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->stream != nullptr) catch_up(event->stream, event->place);
  return begin_wait();
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return cudaEventSynchronize(event);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
  return begin_call();
}
