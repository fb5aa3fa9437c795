// Experts at the shapes of Fate's paper, by name: a layer's products with everything on the card, next to the rate of a
// copy; and a prompt's rows. scripts/gpu/bench.mjs builds and runs it.
// Words of the command line choose benches; without any all run.
#include "bench/gpu/measure.h"
#include "cuda/core/stream.h"
#include "cuda/ops/experts/arguments.h"
#include "cuda/program/device_op.h"
#include "cuda/quant/fragments.h"

namespace vivace::cuda {

void expert_down(const DeviceRun&);
void expert_gate_up(const DeviceRun&);
size_t expert_down_memory(const OpShapes&, const DeviceProperties&);
size_t expert_gate_up_memory(const OpShapes&, const DeviceProperties&);

namespace {

struct Mixture {
  const char* name;
  int experts, used, width, hidden;
};
constexpr Mixture qwen = {"qwen1.5-moe", 60, 4, 2048, 1408}, deepseek = {"deepseek-moe", 64, 6, 2048, 1408};

Mixture sized_of(const Mixture& full) {
  return sized(full, Mixture{full.name, 8, full.used, 64, 32});
}

// Codes as they come, and scales that are small numbers: two bytes of 16-bit floats near 2^-8 everywhere.
__global__ void fill_experts(uint32_t* to, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    const uint32_t word = static_cast<uint32_t>(i) * 2654435761u;
    to[i] = ((word ^ word >> 15) & 0x03ff03ffu) | 0x1c001c00u;
  }
}

// One layer, its rows and what they choose; every call has other experts.
class Layer {
 public:
  Layer(const DeviceProperties& device, const Mixture& mixture, DType dtype, int rows)
      : device_(device), mixture_(mixture), dtype_(dtype), rows_(rows) {
    const auto& [name, experts, used, width, hidden] = mixture;
    matrix_ = fragment_bytes(dtype, int64_t{experts} * hidden, width);
    down_ = fragment_bytes(dtype, int64_t{experts} * width, hidden);
    weights_.reserve(2 * matrix_ + down_ + 4096);
    launch<fill_experts>(Launch{dim3(1024), dim3(256)}, reinterpret_cast<uint32_t*>(weights_.data()),
                         weights_.size() / 4);
    const int64_t pairs = int64_t{rows} * used;
    x_.reserve(rows * row_bytes(activations_for(dtype), width));
    h_.reserve(pairs * row_bytes(activations_for(dtype), hidden));
    y_.reserve(int64_t{rows} * width * 4);
    check(cudaMemset(x_.data(), 0, static_cast<size_t>(x_.size())), "cudaMemset");
    choose();
    const size_t room =
        std::max(expert_gate_up_memory(shapes_of(gate_up(0)), device), expert_down_memory(shapes_of(down(0)), device));
    scratch_.reserve(static_cast<int64_t>(room) + 256);
  }

  void run(int turn, cudaStream_t stream) const {
    DeviceRun first = gate_up(turn), second = down(turn);
    first.stream = second.stream = stream;
    expert_gate_up(first);
    expert_down(second);
  }
  // Of weights, of as many experts as rows choose.
  double bytes() const {
    const double all = static_cast<double>(2 * matrix_ + down_), each = all / mixture_.experts;
    return each * std::min(mixture_.experts, rows_ * mixture_.used);
  }
  int turns() const { return turns_; }

 private:
  void choose() {
    std::vector<int32_t> ids;
    const int stride = mixture_.experts / 2 - 1;
    for (int turn = 0; turn < turns_; ++turn)
      for (int row = 0; row < rows_; ++row)
        for (int slot = 0; slot < mixture_.used; ++slot)
          ids.push_back((turn * mixture_.used + row * stride + slot) % mixture_.experts);
    ids_.reserve(static_cast<int64_t>(ids.size()) * 4);
    shares_.reserve(static_cast<int64_t>(rows_) * mixture_.used * 4);
    check(cudaMemcpy(ids_.data(), ids.data(), ids.size() * 4, cudaMemcpyHostToDevice), "cudaMemcpy");
    check(cudaMemset(shares_.data(), 0, static_cast<size_t>(shares_.size())), "cudaMemset");
  }
  static Tensor tensor(DType dtype, int64_t rows, int64_t columns, std::byte* data) {
    return Tensor{dtype, rows, columns, row_bytes(dtype, columns), data};
  }
  Tensor matrix(int64_t rows, int64_t columns, int64_t at) const {
    Tensor weight = tensor(dtype_, mixture_.experts * rows, columns, weights_.data() + at);
    weight.panels = true;
    return weight;
  }
  Tensor ids_of(int turn) const {
    return tensor(DType::I32, rows_, mixture_.used, ids_.data() + int64_t{turn % turns_} * rows_ * mixture_.used * 4);
  }
  DeviceRun gate_up(int turn) const {
    DeviceRun run;
    run.inputs[0] = tensor(activations_for(dtype_), rows_, mixture_.width, x_.data());
    run.inputs[1] = matrix(mixture_.hidden, mixture_.width, 0);
    run.inputs[2] = matrix(mixture_.hidden, mixture_.width, matrix_);
    run.inputs[3] = ids_of(turn);
    run.outputs[0] = tensor(activations_for(dtype_), rows_, int64_t{mixture_.used} * mixture_.hidden, h_.data());
    return finish(run);
  }
  DeviceRun down(int turn) const {
    DeviceRun run;
    run.inputs[0] = tensor(activations_for(dtype_), rows_, int64_t{mixture_.used} * mixture_.hidden, h_.data());
    run.inputs[1] = matrix(mixture_.width, mixture_.hidden, 2 * matrix_);
    run.inputs[2] = ids_of(turn);
    run.inputs[3] = tensor(DType::F32, rows_, mixture_.used, shares_.data());
    run.outputs[0] = tensor(DType::F32, rows_, mixture_.width, y_.data());
    return finish(run);
  }
  DeviceRun finish(DeviceRun run) const {
    run.attributes = attributes_;
    run.scratch = scratch_.data();
    run.device = &device_;
    return run;
  }
  OpShapes shapes_of(const DeviceRun& run) const {
    OpShapes shapes;
    std::copy(run.inputs, run.inputs + max_inputs, shapes.inputs);
    shapes.outputs[0] = run.outputs[0];
    shapes.attributes = attributes_;
    return shapes;
  }

  const DeviceProperties& device_;
  const Mixture mixture_;
  const DType dtype_;
  const int rows_, turns_ = sized(8, 2);
  const double attributes_[2] = {static_cast<double>(mixture_.experts), 0};
  int64_t matrix_ = 0, down_ = 0;
  DeviceBuffer weights_, x_, h_, y_, ids_, shares_, scratch_;
};

// A layer's share of a recorded round of several, as a model's rounds are.
double time_layer(const Layer& layer) {
  Stream stream;
  Graph graph;
  graph.record(stream, [&] {
    for (int turn = 0; turn < layer.turns(); ++turn) layer.run(turn, stream.get());
  });
  std::vector<double> all;
  for (int turn = 0; turn < sized(10, 2); ++turn) {
    Event begin, end;
    begin.record(stream);
    graph.launch(stream);
    end.record(stream);
    stream.wait();
    if (turn > 0) all.push_back(end.seconds_since(begin) / layer.turns());
  }
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

struct Card {
  DeviceProperties device;
  double rate;  // bytes per second of a copy
};

// A token's experts, all on the card; and rounds of several tokens and a prompt's chunk for comparison.
void resident(const Card& card, const Mixture& full) {
  const Mixture mixture = sized_of(full);
  const std::vector<DType> types = {DType::Q4_0, DType::Q8_0, DType::Q4_K};
  for (const DType dtype : std::vector<DType>(types.begin(), types.begin() + sized(3, 2))) {
    const std::string what = std::string(full.name) + "-resident, " + find_dtype(dtype)->name;
    for (const int rows : {1, 8, sized(512, 24)}) {
      const Layer layer(card.device, mixture, dtype, rows);
      const double seconds = time_layer(layer), rate = layer.bytes() / seconds;
      const std::string title = what + ", " + std::to_string(rows) + " rows";
      std::printf("%-66s %10.2f us, %.0f GB/s\n", title.c_str(), seconds * 1e6, rate / 1e9);
      if (rows == 1)
        print_bar(title + ": share of a copy's bandwidth", rate / 1e9, card.rate / 1e9, "GB/s", rate / card.rate, 0.75,
                  true);
      else
        print_figure(title, seconds * 1e6, "us");
    }
  }
}

void run() {
  cudaDeviceProp found;
  check(cudaGetDeviceProperties(&found, 0), "cudaGetDeviceProperties");
  Card card;
  card.device.multiprocessors = found.multiProcessorCount;
  DeviceBuffer memory;
  memory.reserve(sized(int64_t{1} << 30, int64_t{1} << 16));
  card.rate = copy_rate(memory.data(), memory.size(), card.device.multiprocessors);
  for (const Mixture& mixture : {qwen, deepseek})
    if (is_wanted(std::string(mixture.name) + "-resident")) resident(card, mixture);
}

}  // namespace
}  // namespace vivace::cuda

int main(int count, char** words) {
  return vivace::cuda::run_bench(count, words, [](bool) { vivace::cuda::run(); });
}
