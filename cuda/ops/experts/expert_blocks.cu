// Products with experts in fragments: types with blocks of 32 columns.
#include "cuda/ops/experts/fragment_products.h"

namespace vivace::cuda {

void run_expert_blocks(const ExpertProducts& a, cudaStream_t stream) {
  switch (a.dtype) {
    case DType::Q4_0:
      return run_expert_tiles<FragmentsQ4_0>(a, stream);
    case DType::Q4_1:
      return run_expert_tiles<FragmentsQ4_1>(a, stream);
    case DType::Q5_0:
      return run_expert_tiles<FragmentsQ5_0>(a, stream);
    case DType::Q5_1:
      return run_expert_tiles<FragmentsQ5_1>(a, stream);
    case DType::IQ4_NL:
      return run_expert_tiles<FragmentsIQ4_NL>(a, stream);
    default:
      return run_expert_tiles<FragmentsQ8_0>(a, stream);
  }
}

void run_expert_fragments(const ExpertProducts& a, cudaStream_t stream) {
  if (find_dtype(a.dtype)->block == 32)
    run_expert_blocks(a, stream);
  else
    run_expert_super_blocks(a, stream);
}

}  // namespace vivace::cuda
