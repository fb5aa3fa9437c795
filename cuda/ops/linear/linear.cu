// linear: see cpp/ops/linear/linear.h. Chooses the kernel; each is in a file of its own.
#include "cuda/ops/elementwise.h"
#include "cuda/ops/linear/arguments.h"
#include "cuda/ops/linear/linear.h"

namespace vivace::cuda {

size_t linear_joined_memory(const OpShapes* shapes, int count, const DeviceProperties& device) {
  const Tensor &weight = shapes->inputs[1], &y = shapes->outputs[0];
  std::vector<int> outs;
  for (int i = 0; i < count; ++i) outs.push_back(static_cast<int>(shapes[i].outputs[0].columns));
  return linear_scratch(weight.dtype, static_cast<int>(y.rows), outs, static_cast<int>(weight.columns),
                        device.multiprocessors);
}
size_t linear_memory(const OpShapes& shapes, const DeviceProperties& device) {
  return linear_joined_memory(&shapes, 1, device);
}

namespace {

LinearArguments arguments_of(const DeviceRun& run) {
  const Tensor &x = run.inputs[0], &weight = run.inputs[1], &y = run.outputs[0];
  return {weight.dtype,
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
}

}  // namespace

void linear(const DeviceRun& run) {
  if (!fast_linear(arguments_of(run), run.stream)) plain_linear(run);
}

void linear_joined(const DeviceRun* const* runs, int count) {
  LinearArguments arguments = arguments_of(*runs[0]);
  for (int i = 1; i < count; ++i) arguments.others[arguments.other_count++] = arguments_of(*runs[i]).target();
  if (!fragment_linear(arguments, runs[0]->stream)) throw Error("INTERNAL", "linear: calls that do not fit are joined");
}

}  // namespace vivace::cuda
