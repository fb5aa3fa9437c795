// linear: see cpp/ops/linear/linear.h. Chooses the kernel; each is in a file of its own.
#include "cuda/ops/elementwise.h"
#include "cuda/ops/linear/arguments.h"
#include "cuda/ops/linear/linear.h"

namespace vivace::cuda {

size_t linear_memory(const OpShapes& shapes, const DeviceProperties& device) {
  const Tensor &weight = shapes.inputs[1], &y = shapes.outputs[0];
  return linear_scratch(weight.dtype, static_cast<int>(y.rows), static_cast<int>(y.columns),
                        static_cast<int>(weight.columns), device.multiprocessors);
}

void linear(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1], &y = run.outputs[0];
  const LinearArguments arguments = {weight.dtype,
                                     values_of<const uint8_t>(weight),
                                     weight.stride,
                                     values_of<const uint8_t>(x),
                                     x.stride,
                                     values_of<float>(y),
                                     values_of<const float>(run.inputs[2]),
                                     values_of<const float>(run.inputs[3]),
                                     static_cast<int>(y.rows),
                                     static_cast<int>(y.columns),
                                     static_cast<int>(x.columns),
                                     weight.panels,
                                     reinterpret_cast<uint8_t*>(run.scratch),
                                     run.tickets,
                                     run.device->multiprocessors};
  if (fast_linear(arguments, run.stream)) return;
  plain_linear(run);
}

}  // namespace vivace::cuda
