#include "cuda/program/device_program.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "core/error.h"

namespace vivace::cuda {
namespace {

DeviceProperties properties_of(int device) {
  check(cudaSetDevice(device), "cudaSetDevice");
  cudaDeviceProp found;
  check(cudaGetDeviceProperties(&found, device), "cudaGetDeviceProperties");
  DeviceProperties properties;
  properties.multiprocessors = found.multiProcessorCount;
  properties.major = found.major;
  properties.minor = found.minor;
  properties.shared_bytes = static_cast<int>(found.sharedMemPerBlockOptin);
  return properties;
}

// By device: what the first program of this process has said that lost it. CUDA gives the others nothing any more,
// either.
std::mutex losses_mutex;
std::map<int, std::string> losses;

// What of a pattern counts for plans.
Pattern planned(Pattern pattern) {
  pattern.sinks = pattern.sinks > 0 ? 1 : 0;
  pattern.head_step = pattern.head_offset = pattern.turn = pattern.turned = 0;
  return pattern;
}

size_t find_pattern(const std::vector<Pattern>& patterns, const Pattern& wanted) {
  size_t at = 0;
  while (at < patterns.size() && std::memcmp(&patterns[at], &wanted, sizeof(Pattern)) != 0) ++at;
  return at;
}

std::string loss_of(int device) {
  std::lock_guard lock(losses_mutex);
  const auto found = losses.find(device);
  return found == losses.end() ? "" : "Another model has lost the graphics card for this process: " + found->second;
}

}  // namespace

int64_t bucket_of(int64_t count) {
  if (count > graph_rows) return (count + graph_rows - 1) / graph_rows * graph_rows;
  int64_t size = count == 0 ? 0 : 1;
  while (size < count) size *= 2;
  return size;
}

DeviceProgram::DeviceProgram(int device, const VivaceDeviceProgram& description, const DeviceProgram* base)
    : device_(device), properties_(properties_of(device)), always_trail_(std::getenv("VIVACE_CUDA_TRAIL") != nullptr) {
  read(description);
  check_program(program_);
  weights_->plan(program_, base != nullptr ? base->weights_ : nullptr);
  join_calls();
  measure_states();
  check_memory();
  tickets_.reserve(ticket_count * 4);
  check(cudaMemset(tickets_.data(), 0, ticket_count * 4), "cudaMemset");
}

void DeviceProgram::read(const VivaceDeviceProgram& given) {
  for (int32_t i = 0; i < given.value_count; ++i) {
    const VivaceDeviceValue& value = given.values[i];
    ValueInfo info;
    info.name = value.name;
    info.dtype = static_cast<DType>(value.dtype);
    info.rows = value.rows;
    info.columns = value.columns;
    info.kind = static_cast<ValueKind>(value.kind);
    info.data = static_cast<const std::byte*>(value.data);
    program_.values.push_back(std::move(info));
  }
  for (int32_t i = 0; i < given.call_count; ++i) {
    const VivaceDeviceCall& call = given.calls[i];
    const OpInfo* op = find_op(call.op);
    const DeviceOp* body = find_device_op(call.op);
    if (op == nullptr || body == nullptr)
      throw Error("INTERNAL", std::string("program: the device library has no op ") + call.op);
    infos_.push_back(std::make_unique<OpInfo>(*op));
    infos_.back()->scratch = nullptr;  // the CPU's kernels want it
    ops_.push_back(body);
    program_.calls.push_back({infos_.back().get(),
                              {call.inputs, call.inputs + call.input_count},
                              {call.outputs, call.outputs + call.output_count},
                              {call.attributes, call.attributes + call.attribute_count}});
  }
  program_.outputs.assign(given.outputs, given.outputs + given.output_count);
  outputs_.resize(program_.values.size());
}

// Neighbouring calls that multiply the same values: q, k and v.
void DeviceProgram::join_calls() {
  const auto fits = [&](size_t i) {
    const CallInfo& call = program_.calls[i];
    if (ops_[i]->launch_joined == nullptr || !weights_->in_fragments(call.inputs[1])) return false;
    // Nothing that a neighbour may compute.
    for (size_t k = 1; k < call.inputs.size(); ++k)
      if (call.inputs[k] >= 0 && program_.values[static_cast<size_t>(call.inputs[k])].kind == ValueKind::value)
        return false;
    return true;
  };
  const auto weight_of = [&](size_t i) {
    return program_.values[static_cast<size_t>(program_.calls[i].inputs[1])].dtype;
  };
  joined_.assign(program_.calls.size(), 1);
  for (size_t first = 0; first < joined_.size(); first += static_cast<size_t>(joined_[first])) {
    if (!fits(first)) continue;
    for (size_t i = first + 1; i < joined_.size() && joined_[first] < most_joined; ++i) {
      if (ops_[i] != ops_[first] || !fits(i) || program_.calls[i].inputs[0] != program_.calls[first].inputs[0] ||
          weight_of(i) != weight_of(first))
        break;
      ++joined_[first];
    }
  }
}

OpShapes DeviceProgram::shapes_of(const CallInfo& call, int64_t rows, int64_t outputs) const {
  OpShapes shapes;
  const auto shape_of = [&](int id) {
    const ValueInfo& value = program_.values[static_cast<size_t>(id)];
    return Tensor{value.dtype, actual_rows(value, rows, outputs), value.columns, row_bytes(value.dtype, value.columns)};
  };
  shapes.input_count = static_cast<int>(call.inputs.size());
  shapes.output_count = static_cast<int>(call.outputs.size());
  shapes.attributes = call.attributes.data();
  for (size_t k = 0; k < call.inputs.size(); ++k)
    if (call.inputs[k] >= 0) shapes.inputs[k] = shape_of(call.inputs[k]);
  for (size_t k = 0; k < call.outputs.size(); ++k) shapes.outputs[k] = shape_of(call.outputs[k]);
  return shapes;
}

void DeviceProgram::measure_states() {
  for (size_t i = 0; i < ops_.size(); ++i)
    if (ops_[i]->state != nullptr) {
      heads_ = std::max(heads_, static_cast<int>(program_.calls[i].attributes[1]));
      state_bytes_ = std::max(state_bytes_, static_cast<int64_t>(ops_[i]->state(shapes_of(program_.calls[i], 1, 1))));
    }
}

// What calls see, once each. Which heads see which blocks, and how far away sinks seem to be, changes no plan.
std::vector<Pattern> DeviceProgram::patterns_of(const DeviceKv& kv) const {
  std::vector<Pattern> patterns;
  for (size_t i = 0; i < ops_.size(); ++i)
    if (ops_[i]->pattern != nullptr) {
      const Pattern own = planned(ops_[i]->pattern(program_.calls[i].attributes.data(), kv));
      if (find_pattern(patterns, own) == patterns.size()) patterns.push_back(own);
    }
  if (patterns.empty()) patterns.push_back({});
  return patterns;
}

// They grow with what the sequences of a round have in their caches, and so does what a policy's rows work with.
void DeviceProgram::reserve_states(int64_t count, int64_t floats) {
  const int64_t wanted = count * state_bytes_ + (floats > 0 ? floats * 4 + 16 : 0);
  if (wanted <= states_.size()) return;
  settle();
  shapes_.clear();  // they have addresses of the old ones
  states_.reserve(std::max(int64_t{1} << 20, wanted + wanted / 2));
}

// The plan of the values, and the largest scratch memory of a call behind them.
Plan DeviceProgram::plan_for(int64_t rows, int64_t outputs, int64_t& scratch) const {
  Plan plan = make_plan(program_, rows, outputs, 1);
  scratch = 0;
  for (size_t i = 0; i < ops_.size(); ++i) {
    if (ops_[i]->scratch == nullptr) continue;
    OpShapes shapes[most_joined];
    for (int k = 0; k < joined_[i]; ++k)
      shapes[k] = shapes_of(program_.calls[i + static_cast<size_t>(k)], rows, outputs);
    scratch = std::max(scratch, static_cast<int64_t>(ops_[i]->scratch(shapes[0], properties_)));
    if (joined_[i] > 1)
      scratch = std::max(scratch, static_cast<int64_t>(ops_[i]->joined_scratch(shapes, joined_[i], properties_)));
  }
  plan.scratch_offset = (plan.bytes + 255) / 256 * 256;
  plan.bytes = plan.scratch_offset + scratch;
  return plan;
}

// Before anything is moved: weights, and values of a prompt's chunk of 512 rows.
void DeviceProgram::check_memory() {
  int64_t scratch = 0;
  round_bytes_ = plan_for(512, 64, scratch).bytes;
  size_t free = 0, all = 0;
  check(cudaMemGetInfo(&free, &all), "cudaMemGetInfo");
  const int64_t wanted = weights_->bytes() + round_bytes_;
  if (wanted <= static_cast<int64_t>(free)) return;
  throw Error("OUT_OF_MEMORY",
              "The model needs " + mebibytes(wanted) + " on the graphics card (" + mebibytes(weights_->bytes()) +
                  " for weights, " + mebibytes(round_bytes_) + " for values) before any context; " +
                  mebibytes(static_cast<int64_t>(free)) + " of " + mebibytes(static_cast<int64_t>(all)) + " are free",
              "Use weights of fewer bits, close other programs on the card, or use device: 'cpu'.");
}

double DeviceProgram::load(int64_t bytes) {
  check(cudaSetDevice(device_), "cudaSetDevice");
  return weights_->load(bytes);
}

Tensor DeviceProgram::tensor_of(int id, const Shape& shape) const {
  Tensor tensor;
  if (id < 0) return tensor;
  const ValueInfo& value = program_.values[static_cast<size_t>(id)];
  tensor.dtype = value.dtype;
  tensor.rows = actual_rows(value, shape.plan.rows, shape.plan.outputs);
  tensor.columns = value.columns;
  tensor.stride = row_bytes(value.dtype, value.columns);
  tensor.data = weights_->find(id);
  tensor.panels = weights_->in_fragments(id);
  if (tensor.data == nullptr) tensor.data = block_.input(shape.layout, id);
  if (tensor.data == nullptr) tensor.data = arena_.data() + shape.plan.offsets[static_cast<size_t>(id)];
  return tensor;
}

void DeviceProgram::make_steps(Shape& shape, RowsKind kind) {
  for (size_t i = 0; i < program_.calls.size(); ++i) {
    const CallInfo& call = program_.calls[i];
    Step step{ops_[i], {}, static_cast<int>(i), joined_[i]};
    for (size_t k = 0; k < call.inputs.size(); ++k) step.run.inputs[k] = tensor_of(call.inputs[k], shape);
    for (size_t k = 0; k < call.outputs.size(); ++k) step.run.outputs[k] = tensor_of(call.outputs[k], shape);
    if (!call.outputs.empty() && step.run.outputs[0].rows == 0) continue;  // a prompt's chunk without outputs
    step.run.attributes = call.attributes.data();
    size_t plan = 0;
    if (ops_[i]->pattern != nullptr)
      plan = find_pattern(shape.patterns, planned(ops_[i]->pattern(call.attributes.data(), shape.kv)));
    step.run.batch = block_.batch(shape.layout, plan);
    step.run.batch.kind = kind;
    step.run.batch.choosing = policy_.choosing();
    step.run.batch.compresses = policy_.compresses();
    step.run.kv = shape.kv;
    step.run.states = states_.data();
    step.run.scratch = arena_.data() + shape.plan.scratch_offset;
    step.run.tickets = reinterpret_cast<uint32_t*>(tickets_.data());
    step.run.stream = stream_.get();
    step.run.device = &properties_;
    shape.steps.push_back(step);
  }
}

DeviceProgram::Shape& DeviceProgram::shape_for(int64_t rows, int64_t outputs, size_t cache, RowsKind kind) {
  const Key key{rows, outputs, cache, kind, policy_.choosing(), policy_.compresses()};
  if (const auto known = shapes_.find(key); known != shapes_.end()) return known->second;
  int64_t scratch = 0;
  Plan plan = plan_for(rows, outputs, scratch);
  if (plan.bytes > arena_.size()) {
    settle();
    shapes_.clear();  // they have addresses of the old arena
    arena_.reserve(plan.bytes);
  }
  Shape& shape = shapes_[key];
  shape.plan = std::move(plan);
  if (cache < caches_.count()) shape.kv = caches_[cache];
  shape.patterns = patterns_of(shape.kv);
  shape.layout = RoundLayout(program_, rows, outputs, shape.kv, shape.patterns.size());
  return shape;
}

// Each op with the weight that it reads.
std::vector<std::string> DeviceProgram::names_of(const Shape& shape) const {
  std::vector<std::string> names;
  for (const Step& step : shape.steps) {
    std::string name = step.op->name;
    for (const int id : program_.calls[static_cast<size_t>(step.call)].inputs)
      if (id >= 0 && program_.values[static_cast<size_t>(id)].kind == ValueKind::weight)
        name += " of " + program_.values[static_cast<size_t>(id)].name;
    names.push_back(name);
  }
  return names;
}

void DeviceProgram::pass_on(const Error& error) {
  if (error.code() != "DEVICE_LOST") throw error;
  lost_ = std::string(error.what()) + ", " + trail_.where();
  {
    std::lock_guard lock(losses_mutex);
    losses.emplace(device_, lost_);
  }
  throw Error("DEVICE_LOST", lost_, lost_remedy);
}

void DeviceProgram::launch(const Shape& shape) const {
  for (size_t i = 0; i < shape.steps.size(); i += static_cast<size_t>(shape.steps[i].joined)) {
    const Step& step = shape.steps[i];
    if (step.joined == 1) {
      step.op->launch(step.run);
      continue;
    }
    const DeviceRun* runs[most_joined] = {};
    for (int k = 0; k < step.joined; ++k) runs[k] = &shape.steps[i + static_cast<size_t>(k)].run;
    step.op->launch_joined(runs, step.joined);
  }
}

void DeviceProgram::launch_all(Shape& shape, double* seconds) {
  // A kernel that cannot stand a shape shows that the first time.
  const bool again = seconds != nullptr || ++shape.uses > 1;
  if (!again || always_trail_ || trail_.on()) settle();  // a trail is of one run
  trail_.begin(again && !always_trail_ ? std::vector<std::string>{} : names_of(shape), stream_);
  if (seconds == nullptr && again && !always_trail_ && std::max(shape.plan.rows, shape.plan.outputs) <= graph_rows) {
    // The second time: a bucket that is used once is not worth recording.
    if (!shape.graph.recorded()) shape.graph.record(stream_, [&] { launch(shape); });
    shape.graph.launch(stream_);
    return;
  }
  if (seconds != nullptr) std::fill(seconds, seconds + program_.calls.size() + 1, -1.0);
  std::vector<Event> events;
  if (seconds != nullptr) {
    events.resize(shape.steps.size() + 1);
    events[0].record(stream_);
  }
  for (size_t i = 0; i < shape.steps.size(); ++i) {
    const Step& step = shape.steps[i];
    try {
      step.op->launch(step.run);
    } catch (const Error& error) {
      if (error.code() == "DEVICE_LOST") throw;  // an op before this one may have met it
      throw Error(error.code(), std::string("op ") + step.op->name + ": " + error.what(), error.remedy());
    }
    trail_.passed(stream_);
    if (seconds != nullptr) events[i + 1].record(stream_);
  }
  if (seconds == nullptr) return;
  stream_.wait();
  for (size_t i = 0; i < shape.steps.size(); ++i) seconds[shape.steps[i].call] = events[i + 1].seconds_since(events[i]);
}

DeviceProgram::~DeviceProgram() {
  cudaSetDevice(device_);
  cudaStreamSynchronize(stream_.get());  // copies may be under way after an error
}

// Waits for everything that was started: what follows frees memory that it may use.
void DeviceProgram::settle() {
  if (under_way_ > 0) stream_.wait();
}

void DeviceProgram::start(const VivaceDeviceRun& run) {
  if (under_way_ > (run.fed >= 0 ? 1 : 0)) throw Error("INTERNAL", "device: a run before the last one is finished");
  if (lost_.empty()) lost_ = loss_of(device_);
  if (!lost_.empty()) throw Error("DEVICE_LOST", lost_, lost_remedy);
  if (!weights_->loaded()) throw Error("INTERNAL", "device: a run before all weights are loaded");
  check(cudaSetDevice(device_), "cudaSetDevice");
  const int64_t rows = bucket_of(run.rows), outputs = bucket_of(run.outputs);
  try {
    // Runs without a cache are of a kind of their own.
    const size_t cache = run.batch != nullptr ? caches_.find(*run.batch->cache) : SIZE_MAX;
    const DeviceKv kv = run.batch != nullptr ? caches_[cache] : DeviceKv{};
    const std::vector<Pattern> patterns = patterns_of(kv);
    const RoundLayout layout(program_, rows, outputs, kv, patterns.size());
    const int64_t pages = run.batch != nullptr
                              ? int64_t{run.batch->sequence_count} * run.batch->cache->groups * run.batch->page_stride
                              : 0;
    policy_.describe(run, run.batch != nullptr ? caches_[cache].labels : DeviceLabels{}, rows, heads_);
    const int64_t entries = pages + static_cast<int64_t>(policy_.bytes().size() / 8);
    if (!block_.fits(layout, entries)) {
      settle();
      shapes_.clear();
      block_.reserve(layout, entries);
    }
    const RowPlanSizes plan = block_.fill(program_, layout, run, patterns, policy_, state_bytes_ / 4);
    reserve_states(plan.states, policy_.floats());
    const RowsKind kind = plan.runs > 0 ? RowsKind::many : plan.several ? RowsKind::several : RowsKind::alone;
    Shape& shape = shape_for(rows, outputs, cache, kind);
    if (shape.steps.empty()) make_steps(shape, kind);
    Started& started = started_[(first_ + under_way_) % 2];
    started.begun.record(stream_);
    block_.send(layout, stream_);
    if (run.fed >= 0) feed(run, layout);
    launch_all(shape, run.call_seconds);
    copy_outputs(run, shape, started);
    start_draws(run, shape, started);
    started.over.record(stream_);
    ++under_way_;
  } catch (const Error& error) {
    pass_on(error);
  }
}

// The tokens that the last run draws go where this run reads them.
void DeviceProgram::feed(const VivaceDeviceRun& run, const RoundLayout& layout) {
  auto* tokens = reinterpret_cast<int32_t*>(block_.input(layout, run.fed));
  if (tokens == nullptr || draws_.choices() == nullptr)
    throw Error("INTERNAL", "device: there are no tokens to go on with");
  feed_tokens(draws_.choices(), static_cast<int>(run.rows), tokens, stream_.get());
}

// Values leave the card only where somebody has memory for them.
void DeviceProgram::copy_outputs(const VivaceDeviceRun& run, const Shape& shape, Started& started) {
  started.wanted.clear();
  for (int32_t i = 0; i < run.binding_count; ++i) {
    const VivaceDeviceBinding& binding = run.bindings[i];
    const ValueInfo& value = program_.values[static_cast<size_t>(binding.value)];
    if (value.kind == ValueKind::input) continue;
    const Tensor tensor = tensor_of(binding.value, shape);
    const int64_t bytes = actual_rows(value, run.rows, run.outputs) * tensor.stride;
    if (bytes == 0) continue;
    PinnedBuffer& buffer = outputs_[static_cast<size_t>(binding.value)];
    buffer.reserve(bytes);
    stream_.copy_to_host(buffer.data(), tensor.data, bytes);
    started.wanted.push_back({binding.value, binding.data, bytes});
  }
}

void DeviceProgram::start_draws(const VivaceDeviceRun& run, const Shape& shape, Started& started) {
  started.draws_here = run.draws != nullptr;
  if (!started.draws_here) return;
  Event begin, end;
  if (run.call_seconds != nullptr) begin.record(stream_);
  const Tensor logits = tensor_of(run.logits, shape);
  const auto hidden_of = [&](int32_t value, int32_t row) {
    const Tensor hidden = tensor_of(value, shape);
    return reinterpret_cast<const float*>(hidden.data + row * hidden.stride);
  };
  draws_.start(run, reinterpret_cast<float*>(logits.data), static_cast<int>(logits.columns), hidden_of, started.drawn,
               stream_);
  if (run.call_seconds == nullptr) return;
  end.record(stream_);
  stream_.wait();
  run.call_seconds[program_.calls.size()] = end.seconds_since(begin);
}

void DeviceProgram::finish(VivaceDeviceChoice* choices) {
  if (under_way_ == 0) throw Error("INTERNAL", "device: no run is under way");
  Started& started = started_[first_];
  first_ = 1 - first_;
  --under_way_;
  try {
    check(cudaSetDevice(device_), "cudaSetDevice");
    started.over.wait();
    busy_ += started.over.seconds_since(started.begun);
  } catch (const Error& error) {
    under_way_ = 0;  // what was behind it is lost, too
    pass_on(error);
  }
  for (const Wanted& one : started.wanted)
    std::memcpy(one.data, outputs_[static_cast<size_t>(one.value)].data(), static_cast<size_t>(one.bytes));
  if (started.draws_here) Draws::finish(started.drawn, choices);
}

VivaceDeviceMemory DeviceProgram::memory() const {
  return {weights_->bytes(),
          arena_.size(),
          states_.size() + block_.bytes() + draws_.bytes() + caches_.bytes(),
          round_bytes_,
          stream_.sent() + weights_->sent(),
          stream_.received(),
          busy_};
}

}  // namespace vivace::cuda
