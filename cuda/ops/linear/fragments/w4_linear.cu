// linear for W4A16 in fragments.
#include "cuda/ops/linear/fragments/products.h"

namespace vivace::cuda {

void run_w4_fragments(const LinearArguments& a, const FragmentPlan& plan, cudaStream_t stream) {
  switch (fragment_layout(a.dtype).group) {
    case 32:
      return run_fragments<FragmentCodes<4, 32>>(a, plan, stream);
    case 64:
      return run_fragments<FragmentCodes<4, 64>>(a, plan, stream);
    case 128:
      return run_fragments<FragmentCodes<4, 128>>(a, plan, stream);
    default:
      return run_fragments<FragmentCodes<4, 0>>(a, plan, stream);
  }
}

}  // namespace vivace::cuda
