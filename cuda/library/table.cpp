// The table that the addon finds: each function catches what the C++ beneath it throws.
#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "core/error.h"
#include "cuda/caches/page_pool.h"
#include "cuda/decode/verify/law_store.h"
#include "cuda/library/kernels.h"
#include "cuda/program/device_program.h"
#include "device/table.h"

namespace vivace::cuda {
namespace {

template <size_t size>
void set_text(char (&to)[size], const std::string& text) {
  const size_t length = std::min(text.size(), size - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

int report(VivaceDeviceError* error, const std::string& code, const std::string& message, const std::string& remedy) {
  set_text(error->code, code);
  set_text(error->message, message);
  set_text(error->remedy, remedy);
  return 1;
}

template <class Body>
int guarded(VivaceDeviceError* error, Body&& body) {
  try {
    body();
    return 0;
  } catch (const Error& thrown) {
    return report(error, thrown.code(), thrown.what(), thrown.remedy());
  } catch (const std::bad_alloc&) {
    return report(error, "OUT_OF_MEMORY", "The system has no memory left for this operation", "Close other programs.");
  } catch (const std::exception& thrown) {
    return report(error, "INTERNAL", thrown.what(), "");
  }
}

DeviceProgram& program_of(void* handle) {
  return *static_cast<DeviceProgram*>(handle);
}
PagePool& pool_of(void* handle) {
  return *static_cast<PagePool*>(handle);
}

int devices(VivaceDeviceInfo* out, int32_t capacity, int32_t* count, VivaceDeviceError* error) {
  return guarded(error, [&] {
    *count = 0;
    int driver = 0, found = 0;
    cudaDriverGetVersion(&driver);
    const cudaError_t result = cudaGetDeviceCount(&found);
    if (result == cudaErrorNoDevice) return void(cudaGetLastError());
    if (result != cudaSuccess) {
      cudaGetLastError();
      // What a kernel broke for this process is no matter of the driver.
      if (result >= cudaErrorIllegalAddress && result <= cudaErrorLaunchFailure) check(result, "cudaGetDeviceCount");
      const std::string has = driver == 0 ? "There is no NVIDIA driver"
                                          : "The NVIDIA driver serves CUDA " + std::to_string(driver / 1000) + "." +
                                                std::to_string(driver % 1000 / 10);
      throw Error(
          "DEVICE_UNAVAILABLE",
          has + "; this library needs one for CUDA 13.0, version 580 or newer (" + cudaGetErrorString(result) + ")",
          "Install or update the NVIDIA driver, or use device: 'cpu'.");
    }
    for (int i = 0; i < found && i < capacity; ++i) {
      VivaceDeviceInfo& info = out[i];
      info = {};
      cudaDeviceProp properties;
      check(cudaGetDeviceProperties(&properties, i), "cudaGetDeviceProperties");
      set_text(info.name, properties.name);
      info.major = properties.major;
      info.minor = properties.minor;
      info.multiprocessors = properties.multiProcessorCount;
      if (properties.major < 8) {
        set_text(info.unusable, "its compute capability is " + std::to_string(properties.major) + "." +
                                    std::to_string(properties.minor) + ", 8.0 is needed");
        continue;
      }
      size_t free = 0, all = properties.totalGlobalMem;
      cudaError_t opened = cudaSetDevice(i);
      if (opened == cudaSuccess) opened = cudaMemGetInfo(&free, &all);
      if (opened != cudaSuccess) {
        cudaGetLastError();
        set_text(info.unusable, opened == cudaErrorMemoryAllocation
                                    ? "other programs have taken all of its memory"
                                    : std::string("it cannot be opened: ") + cudaGetErrorString(opened));
      }
      info.memory = static_cast<int64_t>(all);
      info.memory_free = static_cast<int64_t>(free);
    }
    *count = found;
  });
}

int program_create(int32_t device, const VivaceDeviceProgram* program, void* base, void** out,
                   VivaceDeviceError* error) {
  return guarded(error,
                 [&] { *out = new DeviceProgram(device, *program, base != nullptr ? &program_of(base) : nullptr); });
}
int program_load(void* program, int64_t bytes, double* done, VivaceDeviceError* error) {
  return guarded(error, [&] { *done = program_of(program).load(bytes); });
}
int program_start(void* program, const VivaceDeviceRun* run, VivaceDeviceError* error) {
  return guarded(error, [&] { program_of(program).start(*run); });
}
int program_finish(void* program, VivaceDeviceChoice* choices, VivaceDeviceError* error) {
  return guarded(error, [&] { program_of(program).finish(choices); });
}
void program_memory(void* program, VivaceDeviceMemory* out) {
  *out = program_of(program).memory();
}
void program_destroy(void* program) {
  delete &program_of(program);
}

int laws_create(int32_t device, void** out, VivaceDeviceError* error) {
  return guarded(error, [&] { *out = new LawStore(device); });
}
int laws_read(void* laws, int32_t node, int32_t* ids, float* weights, int32_t capacity, int32_t* count,
              VivaceDeviceError* error) {
  return guarded(error, [&] { *count = static_cast<LawStore*>(laws)->read(node, ids, weights, capacity); });
}
void laws_destroy(void* laws) {
  delete static_cast<LawStore*>(laws);
}

int pages_create(int32_t device, int64_t page_bytes, void** out, VivaceDeviceError* error) {
  return guarded(error, [&] { *out = new PagePool(device, page_bytes); });
}
int page_map(void* pages, void** out, VivaceDeviceError* error) {
  return guarded(error, [&] { *out = pool_of(pages).map(); });
}
void page_unmap(void* pages, void* page) {
  pool_of(pages).unmap(static_cast<std::byte*>(page));
}
int pages_copy(void* pages, const VivaceDeviceStrip* strips, int64_t count, VivaceDeviceError* error) {
  return guarded(error, [&] { pool_of(pages).copy(strips, count); });
}
int pages_read(void* pages, const VivaceDeviceStrip* strips, int64_t count, VivaceDeviceError* error) {
  return guarded(error, [&] { pool_of(pages).read(strips, count); });
}
int pages_write(void* pages, const VivaceDeviceStrip* strips, int64_t count, VivaceDeviceError* error) {
  return guarded(error, [&] { pool_of(pages).write(strips, count); });
}
void pages_destroy(void* pages) {
  delete &pool_of(pages);
}

int32_t kernels(char* out, int32_t capacity) {
  const std::string names = kernels_launched();
  if (capacity > 0) {
    const size_t length = std::min(names.size(), static_cast<size_t>(capacity) - 1);
    std::memcpy(out, names.data(), length);
    out[length] = '\0';
  }
  return static_cast<int32_t>(names.size() + 1);
}

const VivaceDeviceTable table = {
    VIVACE_DEVICE_TABLE_VERSION,
    sizeof(VivaceDeviceTable),
    build_words,
    devices,
    program_create,
    program_load,
    program_start,
    program_finish,
    program_memory,
    program_destroy,
    laws_create,
    laws_read,
    laws_destroy,
    pages_create,
    page_map,
    page_unmap,
    pages_copy,
    pages_read,
    pages_write,
    pages_destroy,
    kernels,
};

}  // namespace
}  // namespace vivace::cuda

#if defined(_WIN32)
#define VIVACE_EXPORT __declspec(dllexport)
#else
#define VIVACE_EXPORT __attribute__((visibility("default")))
#endif
extern "C" VIVACE_EXPORT const VivaceDeviceTable* vivace_device_table(void) {
  return &vivace::cuda::table;
}
