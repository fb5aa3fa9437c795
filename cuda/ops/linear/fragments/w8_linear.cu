// linear for W8A16 in fragments.
#include "cuda/ops/linear/fragments/products.h"

namespace vivace::cuda {

void run_w8_fragments(const LinearArguments& a, const FragmentPlan& plan, cudaStream_t stream) {
  switch (fragment_layout(a.dtype).group) {
    case 32:
      return run_fragments<FragmentCodes<8, 32>>(a, plan, stream);
    case 64:
      return run_fragments<FragmentCodes<8, 64>>(a, plan, stream);
    case 128:
      return run_fragments<FragmentCodes<8, 128>>(a, plan, stream);
    default:
      return run_fragments<FragmentCodes<8, 0>>(a, plan, stream);
  }
}

}  // namespace vivace::cuda
