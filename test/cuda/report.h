// What programs of test/cuda share: arrays of the device, and a line per check.
#pragma once
#include <cstdio>
#include <string>
#include <vector>

#include "cuda/core/error.h"

namespace vivace::cuda {

inline int failures = 0;

inline void report(const char* name, bool good, const std::string& why = "") {
  if (good)
    std::printf("ok %s\n", name);
  else
    std::printf("FAILED %s: %s\n", name, why.c_str());
  failures += good ? 0 : 1;
}

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) { check(cudaMalloc(&data_, count * sizeof(T)), "cudaMalloc"); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
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

// Runs all checks; the exit status of the program.
template <class Checks>
int run_checks(Checks&& checks) {
#if !defined(__CUDACC__)
  emulation::guard_pages(true);
#endif
  try {
    checks();
  } catch (const Error& error) {
    report("no error", false, error.what());
  }
  return failures == 0 ? 0 : 1;
}

}  // namespace vivace::cuda
