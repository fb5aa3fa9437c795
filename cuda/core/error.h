// CUDA's error codes as our errors.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "core/error.h"

namespace vivace::cuda {

// Whether the error spoils everything on the card that this process still has.
inline bool is_lost(cudaError_t error) {
  return error != cudaSuccess && error != cudaErrorMemoryAllocation && error != cudaErrorInvalidValue &&
         error != cudaErrorInvalidConfiguration && error != cudaErrorNotReady;
}

inline constexpr const char* lost_remedy =
    "Start the process again: CUDA gives this one nothing more of the card. Models on the CPU go on.";

// "12 MiB", rounded up.
inline std::string mebibytes(int64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

// Throws OUT_OF_MEMORY, DEVICE_LOST or INTERNAL.
inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that does not stay is taken note of here
  const std::string words = std::string(what) + ": " + cudaGetErrorString(error);
  if (error == cudaErrorMemoryAllocation)
    throw Error("OUT_OF_MEMORY", "The graphics card has no memory left (" + words + ")",
                "Use a smaller model, fewer bits, a shorter context, or close other programs on the card.");
  if (is_lost(error))
    throw Error("DEVICE_LOST", "The graphics card stopped working for this process (" + words + ")", lost_remedy);
  throw Error("INTERNAL", words);
}

}  // namespace vivace::cuda
