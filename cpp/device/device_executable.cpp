#include "device/device_executable.h"

#include <algorithm>
#include <chrono>

#include "caches/paged_kv.h"
#include "core/error.h"
#include "device/device_pages.h"
#include "ops/fused/gated_linear.h"
#include "program/rewrite/fuse.h"

namespace vivace {

static_assert(LevelBatch::most_cells <= VIVACE_TREE_CELLS);

DeviceExecutable::DeviceExecutable(Program program, const DeviceOptions& options, DeviceExecutable* base)
    : options_(options), table_(options.library->table()), program_(std::move(program)), base_(base) {
  options_.library->require_device(options_.device);
  card_ = options_.library->devices()[static_cast<size_t>(options_.device)].name;
  check_program(program_);
  if (options.fuse) {
    int count;
    const FusionRule* rules = fusion_rules(count);
    for (int i = 0; i < count; ++i) rules[i].apply(program_);
  }
  lower_quantized_linears(program_);
  if (options.fuse) {
    fuse_quantizers(program_, true);
    fuse_gates(program_, has_gated_linear_on_card);
  }
  check_program(program_);
  pool_ = ThreadPool::shared(options.threads);
  profile_ = Profile(program_);
  seconds_.resize(program_.calls.size() + 1);

  std::vector<VivaceDeviceValue> values;
  for (const ValueInfo& value : program_.values)
    values.push_back({value.name.c_str(), static_cast<int32_t>(value.dtype), static_cast<int32_t>(value.kind),
                      value.rows, value.columns, value.data});
  std::vector<VivaceDeviceCall> calls;
  for (const CallInfo& call : program_.calls)
    calls.push_back({call.op->name, call.inputs.data(), call.outputs.data(), call.attributes.data(),
                     static_cast<int32_t>(call.inputs.size()), static_cast<int32_t>(call.outputs.size()),
                     static_cast<int32_t>(call.attributes.size())});
  const VivaceDeviceProgram description = {values.data(),
                                           calls.data(),
                                           program_.outputs.data(),
                                           static_cast<int32_t>(values.size()),
                                           static_cast<int32_t>(calls.size()),
                                           static_cast<int32_t>(program_.outputs.size())};
  VivaceDeviceError error{};
  void* const shared = base != nullptr ? base->handle_ : nullptr;
  check_device(table_.program_create(options_.device, &description, shared, &handle_, &error), error);
}

DeviceExecutable::~DeviceExecutable() {
  if (handle_ != nullptr) table_.program_destroy(handle_);
}

const void* DeviceExecutable::place() const {
  return place_of(*options_.library, options_.device);
}

double DeviceExecutable::pack(int64_t bytes) {
  VivaceDeviceError error{};
  // A call ends when it has taken long: what keeps a processor busy is little for a link.
  check_device(table_.program_load(handle_, std::max(bytes, int64_t{4} << 30), &loaded_, &error), error);
  return loaded_;
}

// Numbers the sequences of the batch and lists the pages that its rows see or write.
VivaceDeviceBatch DeviceExecutable::describe(const Batch& batch, const PagedKv& kv) {
  const PagedKvOptions& options = kv.options();
  cache_ = {options.layers,
            options.kv_heads,
            options.key_dim,
            options.value_dim,
            options.page_size,
            static_cast<int32_t>(options.key_dtype),
            static_cast<int32_t>(options.value_dtype),
            kv.key_row_bytes(),
            kv.value_row_bytes(),
            kv.value_offset(),
            kv.layer_bytes()};
  ids_.clear();
  sequences_.resize(static_cast<size_t>(batch.rows));
  int32_t last_cell = 0, added = 0;
  std::vector<int32_t> last_cells;
  for (int64_t row = 0; row < batch.rows; ++row) {
    size_t at = ids_.size();
    if (row > 0 && batch.sequences[row] == batch.sequences[row - 1])
      at = static_cast<size_t>(sequences_[static_cast<size_t>(row - 1)]);
    else
      for (size_t i = 0; i < ids_.size() && at == ids_.size(); ++i)
        if (ids_[i] == batch.sequences[row]) at = i;
    if (at == ids_.size()) {
      ids_.push_back(batch.sequences[row]);
      last_cells.push_back(0);
    }
    sequences_[static_cast<size_t>(row)] = static_cast<int32_t>(at);
    last_cells[at] = std::max(last_cells[at], batch.cells[row]);
    last_cell = std::max(last_cell, batch.cells[row]);
  }
  if (batch.added_positions != nullptr) added = static_cast<int32_t>(batch.added);
  const int32_t stride = last_cell / options.page_size + 1;
  pages_.assign(ids_.size() * static_cast<size_t>(stride), nullptr);
  for (size_t i = 0; i < ids_.size(); ++i)
    for (int32_t page = 0; page <= last_cells[i] / options.page_size; ++page)
      pages_[i * static_cast<size_t>(stride) + static_cast<size_t>(page)] = kv.page_base(ids_[i], page);
  VivaceDeviceBatch given{};
  given.cache = &cache_;
  given.sequences = sequences_.data();
  given.positions = batch.positions;
  given.cells = batch.cells;
  given.first_cells = batch.first_cells;
  given.visible = batch.visible;
  given.added_offsets = batch.added_offsets;
  given.added_positions = batch.added_positions;
  given.tree_mask = batch.tree_mask;
  given.pages = pages_.data();
  given.tree_words = batch.tree_mask != nullptr ? static_cast<int32_t>(batch.tree_words) : 0;
  given.added = added;
  given.sequence_count = static_cast<int32_t>(ids_.size());
  given.page_stride = stride;
  return given;
}

// What the card has no kernels for is for the host: it gets these rows.
void DeviceExecutable::describe(size_t output, Sampler& sampler, const std::vector<int32_t>& path, bool here,
                                SampleResult& result) {
  DrawState& state = states_[output];
  if (!sampler.describe(state, path)) {
    result.error = SampleError::disposed;
    return;
  }
  const SamplerOptions& options = *state.options;
  VivaceDeviceDraw& draw = draws_[output];
  draw.how = here && options.top_logprobs == 0 ? VIVACE_DRAW_HERE : VIVACE_DRAW_HOST;
  draw.vocab = static_cast<int32_t>(options.vocab);
  draw.top_k = options.top_k;
  draw.temperature = options.temperature;
  draw.top_p = options.top_p;
  draw.min_p = options.min_p;
  draw.typical_p = options.typical_p;
  draw.repetition_penalty = options.repetition_penalty;
  draw.presence_penalty = options.presence_penalty;
  draw.frequency_penalty = options.frequency_penalty;
  draw.seed = options.seed;
  draw.index = state.index;
  draw.bias_tokens = state.bias_tokens.data();
  draw.biases = state.biases.data();
  draw.bias_count = static_cast<int32_t>(state.biases.size());
  draw.seen = state.seen.data();
  draw.times = state.times.data();
  draw.seen_count = static_cast<int32_t>(state.seen.size());
}

// A draft that is verified by matching, or by the ratio of laws, is drawn on the card, at every row as if the text had
// come there; what the card draws where it did not come is nobody's.
void DeviceExecutable::describe(Draws& draws) {
  const size_t count = draws.samplers.size();
  std::vector<SampleResult>& results = draws.drawn.results;
  states_.resize(count);
  draws_.assign(count, {});
  choices_.assign(count, {-1, 0, 0, nullptr});
  walks_.clear();
  laws_.clear();
  for (size_t i = 0; i < count; ++i)
    if (draws.samplers[i] != nullptr) {
      const bool on_record = i < draws.drafts.size() && draws.drafts[i].proposal != nullptr;
      describe(i, *draws.samplers[i], {}, !on_record, results[i]);
    }
  for (const TreeRows& rows : draws.trees)
    for (size_t i = 0; i < rows.tree->level().size(); ++i)
      draws_[static_cast<size_t>(rows.output) + i].how = VIVACE_DRAW_HOST;
  for (const Walk& walk : draws.walks) {
    const bool judged = walk.judge.weights != nullptr;
    const bool here = !judged && walk.reflection.rows.empty() &&
                      (walk.options.rule == VerifyRule::match || walk.options.rule == VerifyRule::ratio);
    std::vector<std::vector<int32_t>> paths(walk.tokens.size());
    for (size_t row = 0; row < paths.size(); ++row) {
      if (row > 0) {
        paths[row] = paths[static_cast<size_t>(walk.parents[row])];
        paths[row].push_back(walk.tokens[row]);
      }
      const size_t output = static_cast<size_t>(walk.output) + row;
      describe(output, *walk.sampler, paths[row], here, results[output]);
    }
    for (int64_t i = walk.rows(); i < walk.outputs(); ++i) {
      const auto output = static_cast<size_t>(walk.output + i);
      describe(output, *walk.sampler, {}, false, results[output]);
    }
    if (walk.options.rule == VerifyRule::ratio && draws_[static_cast<size_t>(walk.output)].how == VIVACE_DRAW_HERE)
      describe(walk);
  }
  for (size_t i = 0; i < walks_.size(); ++i) walks_[i].laws = laws_[i].data();
}

// Of a draft whose tokens were drawn, the laws; one of which none was is verified by matching.
void DeviceExecutable::describe(const Walk& walk) {
  if (walk.proposal == nullptr) return;
  const std::vector<Proposal::Node>& nodes = walk.proposal->nodes;
  std::vector<VivaceDeviceLaw> laws(walk.tokens.size());
  bool some = false;
  for (size_t row = 0; row < std::min(laws.size(), nodes.size()); ++row) {
    const std::vector<int32_t>& drawn = nodes[row].drawn;
    const Law law = nodes[row].law.view();
    laws[row] = {law.ids,
                 law.weights,
                 drawn.data(),
                 law.total,
                 static_cast<int32_t>(law.count),
                 static_cast<int32_t>(drawn.size())};
    some = some || (law.count > 0 && !drawn.empty());
  }
  if (!some) return;
  laws_.push_back(std::move(laws));
  walks_.push_back({walk.tokens.data(), walk.parents.data(), nullptr, walk.cycle, static_cast<int32_t>(walk.output),
                    static_cast<int32_t>(walk.rows()), walk.proposal->replacement ? 1 : 0});
}

// What the card drew for an output; false on an error.
bool DeviceExecutable::take(size_t output, Sampler& sampler, SampleResult& result) {
  result = {};
  result.token = choices_[output].token;
  result.error = static_cast<SampleError>(choices_[output].error);
  if (result.error != SampleError::none) return false;
  if (states_[output].options->logprob) result.logprob = choices_[output].logprob;
  sampler.drew(result.token);
  return true;
}

void DeviceExecutable::take(Walk& walk, Drawn& drawn) {
  walk.kept = {0};
  for (int32_t row = 0; row >= 0;) {
    const size_t output = static_cast<size_t>(walk.output + row);
    if (!take(output, *walk.sampler, drawn.results[output])) return;
    row = walk.child(row, drawn.results[output].token);
    if (row > 0) walk.kept.push_back(row);
  }
}

// Results of the card, and draws on the host's threads.
void DeviceExecutable::take(Draws& draws) {
  std::vector<size_t> left;  // units for the host
  const auto how = [&](int64_t output) { return draws_[static_cast<size_t>(output)].how; };
  for (size_t i = 0; i < draws.samplers.size(); ++i) {
    if (draws.samplers[i] == nullptr) continue;
    if (draws_[i].how == VIVACE_DRAW_HERE) take(i, *draws.samplers[i], draws.drawn.results[i]);
    if (draws_[i].how == VIVACE_DRAW_HOST) left.push_back(i);
  }
  for (size_t i = 0; i < draws.walks.size(); ++i) {
    if (how(draws.walks[i].output) == VIVACE_DRAW_HERE) take(draws.walks[i], draws.drawn);
    if (how(draws.walks[i].output) == VIVACE_DRAW_HOST) left.push_back(draws.samplers.size() + i);
  }
  for (size_t i = 0; i < draws.trees.size(); ++i)
    if (!draws.trees[i].tree->level().empty()) left.push_back(draws.samplers.size() + draws.walks.size() + i);
  if (left.empty()) return;
  const int64_t vocab = program_.values[static_cast<size_t>(draws.logits)].columns;
  pool_->run(options_.threads, [&](Team& team) {
    for (size_t i = static_cast<size_t>(team.thread()); i < left.size(); i += static_cast<size_t>(team.threads())) {
      // Rows for the host lie one after the other, so a walk's do.
      const auto output = static_cast<size_t>(draws.first_output(left[i]));
      draws.draw(left[i], choices_[output].logits, vocab);
    }
  });
}

void DeviceExecutable::run(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch,
                           PagedKv* kv, Draws* draws, const std::function<void()>& meanwhile) {
  while (base_ != nullptr && base_->loaded_ < 1) base_->pack(INT64_MAX);
  while (loaded_ < 1) pack(INT64_MAX);
  bindings_.clear();
  for (const RunBinding& binding : bindings) bindings_.push_back({binding.value, binding.data});
  VivaceDeviceBatch given{};
  if (batch != nullptr) given = describe(*batch, *kv);
  VivaceDeviceRun run{};
  run.rows = rows;
  run.outputs = outputs;
  run.bindings = bindings_.data();
  run.binding_count = static_cast<int32_t>(bindings_.size());
  run.batch = batch != nullptr ? &given : nullptr;
  run.call_seconds = profile_.on ? seconds_.data() : nullptr;
  if (draws != nullptr) {
    describe(*draws);
    run.logits = draws->logits;
    run.draws = draws_.data();
    run.walks = walks_.data();
    run.walk_count = static_cast<int32_t>(walks_.size());
  }
  VivaceDeviceError error{};
  check_device(table_.program_start(handle_, &run, &error), error);
  using Clock = std::chrono::steady_clock;
  const auto waits = Clock::now();
  if (meanwhile) meanwhile();
  check_device(table_.program_finish(handle_, choices_.data(), &error), error);
  const auto begin = Clock::now();
  waited_ += std::chrono::duration<double>(begin - waits).count();
  if (draws != nullptr) take(*draws);
  if (!profile_.on) return;
  for (size_t i = 0; i + 1 < seconds_.size(); ++i)
    if (seconds_[i] >= 0) profile_.passed(i, seconds_[i]);
  if (draws != nullptr)
    profile_.drew(std::max(0.0, seconds_.back()) + std::chrono::duration<double>(Clock::now() - begin).count());
  profile_.ran(rows, outputs, batch, kv);
}

RunnerSizes DeviceExecutable::sizes() const {
  VivaceDeviceMemory memory{};
  table_.program_memory(handle_, &memory);
  RunnerSizes sizes;
  sizes.weights = memory.weights;
  sizes.arena = memory.arena + memory.buffers;
  sizes.level = card_;
  sizes.threads = options_.threads;
  sizes.sent = memory.sent;
  sizes.received = memory.received;
  sizes.waited = waited_;
  return sizes;
}

}  // namespace vivace
