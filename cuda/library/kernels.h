// What the table says of its build, and which kernels have run: only emulation keeps a list.
#pragma once
#include <cuda_runtime.h>

#include <string>

namespace vivace::cuda {

#if defined(VIVACE_EMULATED)
inline constexpr const char* build_words = "emulated on this machine's processor";
inline std::string kernels_launched() {
  return emulation::kernels_launched();
}
#else
inline constexpr const char* build_words = "CUDA 13.0 for sm_80, sm_86, sm_89, sm_90a and newer";
inline std::string kernels_launched() {
  return {};
}
#endif

}  // namespace vivace::cuda
