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

// "… [with auto kernel = name<arguments>]" (GCC), "… [kernel = &space::name<arguments>]" (Clang): the bare name.
inline std::string name_in(const std::string& description) {
  const size_t begin = description.find("kernel = ") + 9;
  std::string name = description.substr(begin, description.find_first_of("<;]", begin) - begin);
  const size_t space = name.find_last_of(":&");
  return space == std::string::npos ? name : name.substr(space + 1);
}

// Not inside a lambda: the description of one does not tell the arguments of the template around it.
template <auto kernel>
const char* kernel_name() {
  static const std::string name = name_in(__PRETTY_FUNCTION__);
  return name.c_str();
}

template <auto kernel, class... Parameters>
void launch_with(void (*)(Parameters...), const Launch& how, Parameters... arguments) {
  check(emulation::start_kernel(kernel_name<kernel>(), how.grid, how.block, how.shared_bytes, how.stream,
                                [=] { kernel(arguments...); }),
        "launch");
}

#endif

template <auto kernel, class... Arguments>
void launch(const Launch& how, Arguments... arguments) {
  launch_with<kernel>(kernel, how, arguments...);
}

}  // namespace vivace::cuda
