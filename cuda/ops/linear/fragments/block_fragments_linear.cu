// linear for GGUF's types in fragments.
#include "cuda/ops/linear/fragments/block_products.h"

namespace vivace::cuda {
namespace {

template <class Codes>
void run(const LinearArguments& a, const FragmentPlan& plan, cudaStream_t stream) {
  constexpr int wide = wide_block(Codes::layout().bits);
  const auto start = [&]<int NT>() {
    if (plan.warps == wide)
      launch_block_fragments<Codes, NT, wide>(a, plan, stream);
    else
      launch_block_fragments<Codes, NT, 2>(a, plan, stream);
  };
  if (plan.tiles == 1)
    start.template operator()<1>();
  else if (plan.tiles == 2)
    start.template operator()<2>();
  else if (plan.tiles == 4)
    start.template operator()<4>();
  else
    start.template operator()<8>();
}

}  // namespace

void run_block_fragments(const LinearArguments& a, const FragmentPlan& plan, cudaStream_t stream) {
  switch (a.dtype) {
    case DType::Q4_0:
      return run<FragmentsQ4_0>(a, plan, stream);
    case DType::Q4_1:
      return run<FragmentsQ4_1>(a, plan, stream);
    case DType::Q5_0:
      return run<FragmentsQ5_0>(a, plan, stream);
    case DType::Q5_1:
      return run<FragmentsQ5_1>(a, plan, stream);
    case DType::Q2_K:
      return run<FragmentsQ2_K>(a, plan, stream);
    case DType::Q3_K:
      return run<FragmentsQ3_K>(a, plan, stream);
    case DType::IQ4_NL:
      return run<FragmentsIQ4_NL>(a, plan, stream);
    case DType::IQ4_XS:
      return run<FragmentsIQ4_XS>(a, plan, stream);
    case DType::Q4_K:
      return run<FragmentsQ4_K>(a, plan, stream);
    case DType::Q5_K:
      return run<FragmentsQ5_K>(a, plan, stream);
    case DType::Q6_K:
      return run<FragmentsQ6_K>(a, plan, stream);
    default:
      return run<FragmentsQ8_0>(a, plan, stream);
  }
}

}  // namespace vivace::cuda
