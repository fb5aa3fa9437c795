// CUDA's error codes as our errors.
#pragma once
#include <cuda_runtime.h>

#include <string>

#include "core/error.h"

namespace vivace::cuda {

// Whether the error spoils everything on the card that this process still has.
inline bool is_lost(cudaError_t error) {
  return error != cudaSuccess && error != cudaErrorMemoryAllocation && error != cudaErrorInvalidValue &&
         error != cudaErrorInvalidConfiguration && error != cudaErrorNotReady;
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
    throw Error("DEVICE_LOST", "The graphics card stopped working for this process (" + words + ")",
                "Load the model again; restart the process if that fails.");
  throw Error("INTERNAL", words);
}

}  // namespace vivace::cuda
