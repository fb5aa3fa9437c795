// Random numbers by counter in kernels: the same Philox4x32-10 as cpp/decode/philox.h, so that a draw is the same
// wherever it is made.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace vivace::cuda {

__host__ __device__ inline uint32_t high_product(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32);
}

// Words x to w are those of vivace::philox(seed, index, lane).
__host__ __device__ inline uint4 philox(uint64_t seed, uint64_t index, uint64_t lane) {
  uint4 c = make_uint4(static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(lane),
                       static_cast<uint32_t>(lane >> 32));
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    c = make_uint4(high_product(0xCD9E8D57u, c.z) ^ c.y ^ k0, 0xCD9E8D57u * c.z,
                   high_product(0xD2511F53u, c.x) ^ c.w ^ k1, 0xD2511F53u * c.x);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// Uniform in [0, 1), 53 bits: the bits of vivace::philox_uniform.
__host__ __device__ inline double philox_uniform(uint64_t seed, uint64_t index, uint64_t lane = 0) {
  const uint4 words = philox(seed, index, lane);
  const uint64_t bits = (static_cast<uint64_t>(words.y) << 32 | words.x) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace vivace::cuda
