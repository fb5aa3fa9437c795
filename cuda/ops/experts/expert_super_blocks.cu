// Products with experts in fragments: types with blocks of 256 columns.
#include "cuda/ops/experts/fragment_products.h"

namespace vivace::cuda {

void run_expert_super_blocks(const ExpertProducts& a, cudaStream_t stream) {
  switch (a.dtype) {
    case DType::Q2_K:
      return run_expert_tiles<FragmentsQ2_K>(a, stream);
    case DType::Q3_K:
      return run_expert_tiles<FragmentsQ3_K>(a, stream);
    case DType::Q4_K:
      return run_expert_tiles<FragmentsQ4_K>(a, stream);
    case DType::Q5_K:
      return run_expert_tiles<FragmentsQ5_K>(a, stream);
    case DType::Q6_K:
      return run_expert_tiles<FragmentsQ6_K>(a, stream);
    default:
      return run_expert_tiles<FragmentsIQ4_XS>(a, stream);
  }
}

}  // namespace vivace::cuda
