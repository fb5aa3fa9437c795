#include "program/executable.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "caches/paged_kv.h"
#include "offload/offloaded_layers.h"
#include "ops/attention/attention.h"
#include "ops/attention/sparse/choice.h"
#include "ops/fused/gated_linear.h"
#include "program/rewrite/fuse.h"

namespace vivace {
namespace {

int64_t bucket(int64_t count) {
  int64_t size = count == 0 ? 0 : 1;
  while (size < count) size *= 2;
  return size;
}

Kernel choose(const OpInfo& op, Isa isa) {
  for (int level = static_cast<int>(isa); level >= static_cast<int>(isa_family(isa)); --level)
    if (op.kernels[level] != nullptr) return op.kernels[level];
  return op.kernels[0];
}

// What a row reads of matrices.
int64_t bytes_of_matrices(const Program& program) {
  int64_t bytes = 0;
  for (const CallInfo& call : program.calls)
    for (int i = 0; i < weights_in_panels(*call.op); ++i) {
      const ValueInfo& weight = program.values[static_cast<size_t>(call.inputs[static_cast<size_t>(i) + 1])];
      bytes += weight.rows * row_bytes(weight.dtype, weight.columns);
    }
  return bytes;
}

bool begins_text(const Batch& batch) {
  return std::find(batch.positions, batch.positions + batch.rows, 0) != batch.positions + batch.rows;
}

bool overlap(const Tensor& a, const Tensor& b) {
  if (a.data == nullptr || b.data == nullptr) return false;
  return a.data < b.data + b.rows * b.stride && b.data < a.data + a.rows * a.stride;
}

}  // namespace

Executable::Executable(Program program, const ExecutableOptions& options, const Executable* base)
    : options_(options), program_(std::move(program)), experts_(program_), opening_(program_) {
  if (!isa_supported(options.isa))
    throw Error("UNSUPPORTED_FEATURE", std::string("This processor cannot run ") + isa_name(options.isa) + " kernels");
  check_program(program_);
  if (options.fuse) {
    int count;
    const FusionRule* rules = fusion_rules(count);
    for (int i = 0; i < count; ++i) rules[i].apply(program_);
  }
  lower_quantized_linears(program_);
  if (options.fuse) {
    fuse_quantizers(program_, false);
    fuse_gates(program_, has_gated_linear);
  }
  check_program(program_);
  pool_ = ThreadPool::shared(options.threads);
  if (base != nullptr && base->options_.isa != options.isa)
    throw Error("INTERNAL", "program: weights are shared by programs of one level");
  panels_ = std::make_shared<Panels>(program_, options.isa, base != nullptr ? base->panels_ : nullptr);
  for (const CallInfo& call : program_.calls) {
    Step step{choose(*call.op, options.isa), {}, &call};
    step.run.attributes = call.attributes.data();
    steps_.push_back(step);
  }
  profile_ = Profile(program_);
  experts_ = ExpertLayers(program_);
  opening_ = OpeningLayers(program_);
  // Which experts rows go to is recorded, and foretold, for whole runs.
  if (experts_.layers.empty()) parts_ = find_parts(program_);
  // What is predicted is read by nobody in the program, and must stay until it was looked at.
  for (size_t i = 0; i < program_.calls.size(); ++i)
    if (experts_.roles[i].predicts) program_.outputs.push_back(program_.calls[i].outputs[0]);
  routing_ = base != nullptr ? base->routing_ : std::make_shared<RoutingTrace>();
  store_ = base != nullptr ? base->store_ : options_.experts;
  check_store();
  matrix_bytes_ = bytes_of_matrices(program_);
  while (first_linear_ < steps_.size() && weights_in_panels(*steps_[first_linear_].call->op) == 0) ++first_linear_;
}

void Executable::find_bindables(Prepared& prepared) const {
  for (size_t id = 0; id < program_.values.size(); ++id) {
    const int value = static_cast<int>(id);
    const bool is_output = std::count(program_.outputs.begin(), program_.outputs.end(), value) > 0;
    if (program_.values[id].kind == ValueKind::input || is_output) prepared.bindables.push_back({value, {}});
  }
  for (Step& step : prepared.steps)
    for (Bindable& bindable : prepared.bindables) {
      for (size_t i = 0; i < step.call->inputs.size(); ++i)
        if (step.call->inputs[i] == bindable.value) bindable.tensors.push_back(&step.run.inputs[i]);
      for (size_t i = 0; i < step.call->outputs.size(); ++i)
        if (step.call->outputs[i] == bindable.value) bindable.tensors.push_back(&step.run.outputs[i]);
    }
}

RunnerSizes Executable::sizes() const {
  RunnerSizes sizes;
  sizes.weights = panels_->bytes();
  sizes.released = panels_->released();
  sizes.arena = sizes.values = arena_.size();
  sizes.level = isa_name(options_.isa);
  sizes.threads = options_.threads;
  return sizes;
}

const Plan& Executable::plan_for(int64_t rows, int64_t outputs) {
  const std::pair<int64_t, int64_t> key{bucket(rows), bucket(outputs)};
  auto known = plans_.find(key);
  if (known == plans_.end())
    known = plans_.emplace(key, make_plan(program_, key.first, key.second, options_.threads)).first;
  return known->second;
}

void Executable::prepare(int64_t rows, int64_t outputs) {
  current_ = &plan_for(rows, outputs);
  arena_.reserve(current_->bytes);
}

std::byte* Executable::address(int value) const {
  const int64_t offset = current_->offsets[value];
  return offset < 0 ? nullptr : arena_.data() + offset;
}

Executable::Prepared& Executable::prepared_for(int64_t rows, int64_t outputs) {
  constexpr size_t most = 24;  // of 100 KB, for a model of 16 layers
  Prepared* found = nullptr;
  for (const auto& one : prepared_)
    if (one->rows == rows && one->outputs == outputs) found = one.get();
  if (found == nullptr) {
    const auto older = [](const auto& a, const auto& b) { return a->used < b->used; };
    if (prepared_.size() == most) prepared_.erase(std::min_element(prepared_.begin(), prepared_.end(), older));
    auto made = std::make_unique<Prepared>();
    made->rows = rows;
    made->outputs = outputs;
    made->steps = steps_;
    find_bindables(*made);
    found = prepared_.emplace_back(std::move(made)).get();
  }
  const size_t written = panels_->written();
  if (arena_.data() != found->arena || written != found->panels) {
    set_tensors(*found);
    found->arena = arena_.data();
    found->panels = written;
  }
  found->used = ++runs_;
  return *found;
}

void Executable::set_tensors(Prepared& prepared) const {
  const int64_t rows = prepared.rows, outputs = prepared.outputs;
  const auto tensor_of = [&](int id) {
    Tensor tensor;
    if (id < 0) return tensor;
    const ValueInfo& value = program_.values[id];
    tensor.dtype = value.dtype;
    tensor.rows = actual_rows(value, rows, outputs);
    tensor.columns = value.columns;
    tensor.stride = row_bytes(value.dtype, value.columns);
    tensor.data = value.data != nullptr ? const_cast<std::byte*>(value.data) : address(id);
    return tensor;
  };
  const auto use_panels = [&](Step& step) {
    const int weights = weights_in_panels(*step.call->op);
    const std::byte* panels[2];
    for (int i = 0; i < weights; ++i) {
      panels[i] = panels_->find(program_.values[static_cast<size_t>(step.call->inputs[static_cast<size_t>(i) + 1])]);
      if (panels[i] == nullptr) return;  // all of a call's weights, or none
    }
    for (int i = 0; i < weights; ++i) {
      step.run.inputs[i + 1].data = const_cast<std::byte*>(panels[i]);
      step.run.inputs[i + 1].panels = true;
    }
  };
  for (Step& step : prepared.steps) {
    for (size_t i = 0; i < step.call->inputs.size(); ++i) step.run.inputs[i] = tensor_of(step.call->inputs[i]);
    for (size_t i = 0; i < step.call->outputs.size(); ++i) step.run.outputs[i] = tensor_of(step.call->outputs[i]);
    use_panels(step);
    step.run.scratch = arena_.data() + current_->scratch_offset;
    if (std::strncmp(step.call->op->name, "expert_", 7) != 0 || step.run.inputs[1].data != nullptr) continue;
    step.run.inputs[places_input].data = reinterpret_cast<std::byte*>(const_cast<ExpertPlaces*>(&store_->wave()));
    if (std::strcmp(step.call->op->name, "expert_down") == 0)
      step.run.scratch = arena_.data() + current_->products_offset;
  }
  join_steps(prepared.steps);
}

// A linear needs not wait for the ones before it when it reads nothing that they write, and writes nothing that they
// read or write: who is done with q goes on with k, and there is one wait for q, k and v.
void Executable::join_steps(std::vector<Step>& steps) {
  const auto touches = [](const Step& step, const Tensor& written) {
    for (const Tensor& input : step.run.inputs)
      if (overlap(input, written)) return true;
    return overlap(step.run.outputs[0], written);
  };
  size_t first = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    Step& step = steps[i];
    step.joins = i > 0 && i - first < Team::shares && weights_in_panels(*step.call->op) > 0 &&
                 weights_in_panels(*steps[i - 1].call->op) > 0 &&
                 step.run.outputs[0].rows == steps[first].run.outputs[0].rows;
    for (size_t k = first; k < i && step.joins; ++k)
      step.joins = !touches(step, steps[k].run.outputs[0]) && !touches(steps[k], step.run.outputs[0]);
    if (!step.joins) first = i;
  }
}

// Ops of small runs are over in microseconds, and members wait for each other after each; where another thread, as
// JavaScript's, has a member's core, all wait for that.
int Executable::threads_for(int64_t rows) const {
  if (options_.bytes_per_thread <= 0) return options_.threads;
  return static_cast<int>(std::clamp<int64_t>(matrix_bytes_ * rows / options_.bytes_per_thread, 1, options_.threads));
}

void Executable::check_store() const {
  std::vector<bool> stored(program_.values.size());
  for (size_t l = 0; l < experts_.layers.size(); ++l)
    for (int m = 0; m < 3; ++m) {
      const int id = experts_.layers[l].matrices[m];
      if (id < 0) continue;
      const ValueInfo& matrix = program_.values[static_cast<size_t>(id)];
      if (matrix.data != nullptr) continue;
      if (store_ == nullptr || store_->layers() <= static_cast<int>(l) ||
          store_->experts() != experts_.layers[l].experts ||
          store_->layer(static_cast<int>(l)).bytes[m] * store_->experts() !=
              matrix.rows * row_bytes(matrix.dtype, matrix.columns))
        throw Error("INTERNAL", "program: nobody brings " + matrix.name + " into memory");
      stored[static_cast<size_t>(id)] = true;
    }
  for (size_t id = 0; id < program_.values.size(); ++id)
    if (program_.values[id].kind == ValueKind::weight && program_.values[id].data == nullptr && !stored[id])
      throw Error("INTERNAL", "program: " + program_.values[id].name + " has no data");
}

void Executable::routed(size_t step, const OpRun& run, const Batch* batch) {
  const RouteRole& role = experts_.roles[step];
  const Tensor& ids = run.outputs[0];
  routing_->routed(role.layer, role.predicts, ids);
  if (store_ == nullptr) return;
  counts_.assign(static_cast<size_t>(store_->experts()), 0);
  ranks_.assign(static_cast<size_t>(store_->experts()), 0);
  const auto count = [&](int64_t row) {
    for (int64_t slot = 0; slot < ids.columns; ++slot) {
      const int32_t id = ids.row<const int32_t>(row)[slot];
      if (id < 0 || id >= store_->experts()) continue;
      int32_t& rank = ranks_[static_cast<size_t>(id)];
      rank = counts_[static_cast<size_t>(id)]++ == 0 ? static_cast<int32_t>(slot)
                                                     : std::min(rank, static_cast<int32_t>(slot));
    }
  };
  // Where the predicted layer has only the rows of outputs, only theirs count.
  const CallInfo& own = program_.calls[static_cast<size_t>(experts_.layers[static_cast<size_t>(role.layer)].route)];
  const bool of_outputs = program_.values[static_cast<size_t>(own.outputs[0])].rows == outputs_symbol &&
                          program_.values[static_cast<size_t>(program_.calls[step].outputs[0])].rows == rows_symbol;
  if (of_outputs && batch != nullptr)
    for (int64_t i = 0; i < batch->outputs; ++i) count(batch->output_rows[i]);
  else
    for (int64_t row = 0; row < ids.rows; ++row) count(row);
  if (role.predicts)
    store_->predicts(role.layer, counts_, ranks_);
  else
    store_->needs(role.layer, counts_);
}

bool Executable::run_waves(const ExpertLayer& layer, int index, const std::vector<Step>& steps, Team& team) {
  using Clock = std::chrono::steady_clock;
  for (;;) {
    if (team.thread() == 0) more_waves_ = store_->next_wave(index);
    team.barrier();
    if (!more_waves_) break;
    for (int i = layer.gate_up; i <= layer.down; ++i) {
      const Clock::time_point begin = profile_.on ? Clock::now() : Clock::time_point{};
      const Step& step = steps[static_cast<size_t>(i)];
      step.kernel(step.run, team);
      team.barrier();
      if (profile_.on && team.thread() == 0)
        profile_.passed(static_cast<size_t>(i), std::chrono::duration<double>(Clock::now() - begin).count());
    }
  }
  if (team.thread() == 0) lost_ = store_->failed();
  team.barrier();
  return !lost_;
}

void Executable::prepare_for(const Batch& batch, PagedKv& kv) const {
  int64_t bytes = 0;
  for (const Step& step : steps_)
    if (step.call->op == &attention_op)
      bytes =
          std::max(bytes, choice_bytes(batch, kv, static_cast<int64_t>(step.call->attributes[1]), options_.threads));
  kv.reserve_scratch(bytes);
}

// Before the first call of a layer that reads or writes keys of an offloaded one.
bool Executable::open_layer(const Step& step, const Batch& batch, PagedKv& kv, Team& team) {
  const int layer = opening_.layer_of(*step.call), number = layer < 0 ? -1 : kv.offloaded_layer(layer);
  if (number < 0 || number == opened_) return true;
  OffloadedLayers& offloaded = *kv.offloaded();
  team.barrier();  // all have seen which one was open
  if (team.thread() == 0) {
    opened_ = number;
    offloaded.open(number, opening_.needs(batch, kv, layer));
  }
  team.barrier();
  for (int64_t i = team.thread(); i < offloaded.missing(); i += team.threads()) offloaded.read_missing(i);
  team.barrier();
  if (team.thread() == 0) lost_ = offloaded.failed();
  team.barrier();
  return !lost_;
}

double Executable::pack(int64_t bytes) {
  panels_->pack(program_, *pool_, options_.threads, bytes);
  return panels_->progress();
}

void Executable::run(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch,
                     PagedKv* kv, Draws* draws, const std::function<void()>& meanwhile) {
  run_stretch({0, steps_.size(), nullptr, nullptr, nullptr}, rows, outputs, bindings, batch, kv, draws, meanwhile);
  if (profile_.on) profile_.ran(rows, outputs, batch, kv);
}

void Executable::carry(const Stretch& stretch, bool in, int64_t rows, Team& team) const {
  const std::vector<CarriedValue>* const values = in ? stretch.in : stretch.out;
  if (values == nullptr) return;
  for (int64_t row = team.thread(); row < rows; row += team.threads())
    for (const CarriedValue& one : *values) {
      std::byte* const outside = stretch.carried + row * parts_.row_bytes + one.offset;
      std::byte* const inside = address(one.value) + row * one.bytes;
      std::memcpy(in ? inside : outside, in ? outside : inside, static_cast<size_t>(one.bytes));
    }
  team.barrier();
}

void Executable::run_part(int part, std::byte* carried, int64_t rows, int64_t outputs,
                          const std::vector<RunBinding>& bindings, const Batch& batch, PagedKv& kv, Draws* draws) {
  constexpr int64_t most = 512;  // rows at a time: more are not cheaper
  const ProgramPart& own = parts_.list.at(static_cast<size_t>(part));
  const bool last = static_cast<size_t>(part) + 1 == parts_.list.size();
  Compaction* const prompt = batch.compressed > 0 ? kv.compaction(batch.compressed_sequences[0]) : nullptr;
  const int64_t together = std::max<int64_t>(prompt != nullptr ? prompt->voters : 1, std::max<int64_t>(1, outputs));
  const auto count_of = [&](int64_t left) {
    return left <= most || left <= together ? left : std::min(most, left - std::min(left - 1, together));
  };
  // Nothing fails when some rows have passed the part.
  for (int64_t first = 0, count; first < rows; first += count) {
    count = count_of(rows - first);
    prepare(count, first + count == rows ? outputs : 0);
  }
  std::vector<int32_t> output_rows(batch.output_rows, batch.output_rows + outputs);
  for (int64_t first = 0, count; first < rows; first += count) {
    count = count_of(rows - first);
    const bool ends = first + count == rows;
    Batch some = batch;
    some.rows = count;
    for (const int32_t** list : {&some.tokens, &some.positions, &some.sequences, &some.cells, &some.first_cells,
                                 &some.visible, &some.added_offsets})
      *list += first;
    some.compressed = ends ? batch.compressed : 0;
    some.outputs = ends ? outputs : 0;
    if (ends)
      for (int32_t& row : output_rows) row -= static_cast<int32_t>(first);
    some.output_rows = output_rows.data();
    if (ends && prompt != nullptr)
      for (int i = 0; i < prompt->voters; ++i) prompt->rows[i] -= static_cast<int32_t>(first);
    std::vector<RunBinding> bound = bindings;
    for (RunBinding& binding : bound) {
      const ValueInfo& value = program_.values[static_cast<size_t>(binding.value)];
      if (value.rows == rows_symbol) binding.data += first * row_bytes(value.dtype, value.columns);
      if (value.rows == outputs_symbol && binding.data == reinterpret_cast<const std::byte*>(batch.output_rows))
        binding.data = reinterpret_cast<std::byte*>(output_rows.data());
    }
    const Stretch stretch = {own.begin, own.end, carried + first * parts_.row_bytes, &own.in,
                             last ? nullptr : &parts_.list[static_cast<size_t>(part) + 1].in};
    run_stretch(stretch, count, some.outputs, bound, &some, &kv, ends && last ? draws : nullptr, {});
    if (profile_.on && last) profile_.ran(count, some.outputs, &some, &kv);
  }
}

void Executable::run_stretch(const Stretch& stretch, int64_t rows, int64_t outputs,
                             const std::vector<RunBinding>& bindings, const Batch* batch, PagedKv* kv, Draws* draws,
                             const std::function<void()>& meanwhile) {
  prepare(rows, outputs);
  Prepared& prepared = prepared_for(rows, outputs);
  const std::vector<Step>& steps = prepared.steps;
  if (batch != nullptr) batch_ = *batch;
  const Batch* const shown = batch != nullptr ? &batch_ : nullptr;
  if (shown != prepared.batch || kv != prepared.kv) {
    for (Step& step : prepared.steps) {
      step.run.batch = shown;
      step.run.kv = kv;
    }
    prepared.batch = shown;
    prepared.kv = kv;
  }
  if (shown != nullptr && kv != nullptr && kv->options().policy.labels.channels > 0) prepare_for(*shown, *kv);
  OffloadedLayers* const offloaded = kv != nullptr ? kv->offloaded() : nullptr;
  if (offloaded != nullptr) offloaded->begin_run();
  opened_ = -1;
  float* logits = nullptr;
  for (const Bindable& bindable : prepared.bindables) {
    std::byte* data = address(bindable.value);
    for (const RunBinding& binding : bindings)
      if (binding.value == bindable.value) data = binding.data;
    for (Tensor* tensor : bindable.tensors) tensor->data = data;
    if (draws != nullptr && bindable.value == draws->logits) logits = reinterpret_cast<float*>(data);
  }
  if (!experts_.layers.empty()) {
    const bool begins = shown != nullptr && begins_text(*shown);
    routing_->run(rows, begins);
    if (store_ != nullptr) store_->begin(begins);
  }
  using Clock = std::chrono::steady_clock;
  const std::function<void(Team&)> task = [&](Team& team) {
    Clock::time_point last = profile_.on ? Clock::now() : Clock::time_point{};
    size_t layer = 0;  // of those with experts
    carry(stretch, true, rows, team);
    for (size_t i = stretch.begin; i < stretch.end; ++i) {
      const Step& step = steps[i];
      if (i == first_linear_ && meanwhile && team.thread() + 1 == team.threads()) {
        meanwhile();
        if (profile_.on) last = Clock::now();
      }
      // Nothing to do for ops on no rows (a prompt chunk without outputs).
      if (outputs == 0 && !step.call->outputs.empty() && step.run.outputs[0].rows == 0) continue;
      while (layer < experts_.layers.size() && experts_.layers[layer].gate_up < static_cast<int>(i)) ++layer;
      if (layer < experts_.layers.size() && experts_.layers[layer].gate_up == static_cast<int>(i) &&
          step.run.inputs[1].data == nullptr) {
        if (!run_waves(experts_.layers[layer], static_cast<int>(layer), steps, team)) return;
        i = static_cast<size_t>(experts_.layers[layer].down);
        last = profile_.on ? Clock::now() : last;
        continue;
      }
      if (offloaded != nullptr && !open_layer(step, *shown, *kv, team)) return;
      step.kernel(step.run, team);
      // Times of single ops need a wait after each.
      if (profile_.on || i + 1 == stretch.end || !steps[i + 1].joins) team.barrier();
      if (experts_.roles[i].layer >= 0 && team.thread() == 0) routed(i, step.run, shown);
      if (profile_.on && team.thread() == 0) {
        const Clock::time_point now = Clock::now();
        profile_.passed(i, std::chrono::duration<double>(now - last).count());
        last = now;
      }
    }
    carry(stretch, false, rows, team);
    if (draws == nullptr) return;
    const int64_t vocab = program_.values[static_cast<size_t>(draws->logits)].columns;
    for (size_t i = static_cast<size_t>(team.thread()); i < draws->units(); i += static_cast<size_t>(team.threads()))
      draws->draw(i, logits + draws->first_output(i) * vocab, vocab);
    if (profile_.on && team.thread() == 0) profile_.drew(std::chrono::duration<double>(Clock::now() - last).count());
  };
  pool_->run(threads_for(rows), task, meanwhile);
  if (store_ != nullptr) store_->check();
  if (offloaded != nullptr) offloaded->check();
}

}  // namespace vivace
