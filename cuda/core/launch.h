// How kernels are started: launch<kernel>({grid, block}, arguments…), and error reports of it. No other place knows of
// the difference between a card and its emulation.
#pragma once
#include <cuda_runtime.h>

#include "cuda/core/error.h"

namespace vivace::cuda {

struct Launch {
  dim3 grid, block;
  size_t shared_bytes = 0;  // dynamic, beyond the kernel's own
  cudaStream_t stream = nullptr;
};

#if defined(__CUDACC__)

template <auto kernel, class... Parameters>
void launch_with(void (*)(Parameters...), const Launch& how, Parameters... arguments) {
  // Beyond 48 KiB a kernel must ask; the answer stays, so asking again costs a function call.
  if (how.shared_bytes > 48 * 1024)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(how.shared_bytes)),
          "cudaFuncSetAttribute");
  void* addresses[] = {&arguments..., nullptr};
  check(cudaLaunchKernel(reinterpret_cast<const void*>(kernel), how.grid, how.block, addresses, how.shared_bytes,
                         how.stream),
        "cudaLaunchKernel");
}

#else

// The kernel's name out of the compiler's own description of a function that has it for a parameter.
template <auto kernel>
const char* kernel_name() {
  static const std::string name = [] {
    std::string all = __PRETTY_FUNCTION__;
    const size_t begin = all.find("kernel = ") + 9;
    all = all.substr(begin, all.find_last_of(']') - begin);
    if (const size_t end = all.find(';'); end != std::string::npos) all.resize(end);
    // Template arguments and what stands around the name are left out.
    if (const size_t end = all.find('<'); end != std::string::npos) all.resize(end);
    const size_t colon = all.find_last_of(":&");
    return colon == std::string::npos ? all : all.substr(colon + 1);
  }();
  return name.c_str();
}

template <auto kernel, class... Parameters>
void launch_with(void (*)(Parameters...), const Launch& how, Parameters... arguments) {
  check(emulation::start_kernel(kernel_name<kernel>(), how.grid, how.block, how.shared_bytes, how.stream,
                                [=] { kernel(arguments...); }),
        kernel_name<kernel>());
}

#endif

template <auto kernel, class... Arguments>
void launch(const Launch& how, Arguments... arguments) {
  launch_with<kernel>(kernel, how, arguments...);
}

}  // namespace vivace::cuda
