#include "device/device_executable.h"

#include <algorithm>
#include <chrono>

#include "caches/paged_kv.h"
#include "core/error.h"
#include "device/device_laws.h"
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
  for (size_t i = 0; i < program_.values.size(); ++i)
    if (program_.values[i].kind == ValueKind::input && program_.values[i].name == "tokens")
      tokens_ = static_cast<int>(i);

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

// All that comes behind the root of a sequence's draft is part of it.
const uint8_t* DeviceExecutable::mark_drafts(const Batch& batch, const Draws* draws) {
  if (draws == nullptr || draws->walks.empty()) return nullptr;
  drafted_.assign(static_cast<size_t>(batch.rows), 0);
  for (const Walk& walk : draws->walks) {
    const int64_t root = batch.output_rows[walk.output];
    for (int64_t row = root + 1; row < batch.rows && batch.sequences[row] == batch.sequences[root]; ++row)
      drafted_[static_cast<size_t>(row)] = 1;
  }
  return drafted_.data();
}

// A sampler that is disposed has no draw.
void DeviceExecutable::describe(size_t output, Sampler& sampler, const std::vector<int32_t>& path) {
  DrawState& state = run_->states[output];
  if (!sampler.describe(state, path)) return;
  const SamplerOptions& options = *state.options;
  VivaceDeviceDraw& draw = run_->draws[output];
  draw.how = VIVACE_DRAW_HERE;
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
  draw.top = options.top_logprobs;
}

// A draft's draw. Its law stays on the card for a target there; else the host draws, as it needs the law.
void DeviceExecutable::describe(size_t output, const DraftRecord& draft, int behind) {
  VivaceDeviceDraw& draw = run_->draws[output];
  if (draw.how != VIVACE_DRAW_HERE) return;
  if (draft.proposal->place != place()) {
    draw.how = VIVACE_DRAW_HOST;
    return;
  }
  if (!draft.proposal->laws) draft.proposal->laws = std::make_shared<DeviceLaws>(options_.library, options_.device);
  const uint64_t step = draft.steps + static_cast<uint64_t>(behind);
  draw.lane = lane_of(draft.cycle, Lane::draft, step);
  draw.laws = static_cast<DeviceLaws&>(*draft.proposal->laws).handle();
  draw.law_node = static_cast<int32_t>(step);
}

// Drafts are drawn at every row as if the text had come there; what the card draws where it did not come is nobody's.
// `behind`: how many draws of each sampler are under way already.
void DeviceExecutable::describe(const Draws& draws, int behind) {
  levels_ = levels_of(draws);
  const size_t count = draws.samplers.size() * static_cast<size_t>(levels_);
  run_->states.resize(count);
  run_->draws.assign(count, {});
  run_->choices.assign(count, {-1, 0, 0, 0, nullptr, nullptr});
  run_->walks.clear();
  run_->laws.clear();
  const std::vector<int32_t> unknown(static_cast<size_t>(behind), -1);
  for (size_t i = 0; i < draws.samplers.size(); ++i)
    if (draws.samplers[i] != nullptr) {
      describe(i, *draws.samplers[i], unknown);
      if (i < draws.drafts.size() && draws.drafts[i].proposal != nullptr) describe(i, draws.drafts[i], behind);
      if (draws.is_limited(i)) run_->draws[i].allowed = draws.masks[i].data();
    }
  for (const TreeRows& rows : draws.trees) describe(rows);
  for (const Walk& walk : draws.walks) {
    std::vector<std::vector<int32_t>> paths(walk.tokens.size());
    for (size_t row = 0; row < paths.size(); ++row) {
      if (row > 0) {
        paths[row] = paths[static_cast<size_t>(walk.parents[row])];
        paths[row].push_back(walk.tokens[row]);
      }
      describe(static_cast<size_t>(walk.output) + row, *walk.sampler, paths[row]);
    }
    limit(walk);
    if (run_->draws[static_cast<size_t>(walk.output)].how == VIVACE_DRAW_HERE) describe(walk, paths);
  }
  for (size_t i = 0; i < run_->walks.size(); ++i) run_->walks[i].laws = run_->laws[i].data();
}

void DeviceExecutable::limit(const Walk& walk) {
  for (size_t row = 0; row < walk.masks.size(); ++row)
    if (!walk.masks[row].empty()) run_->draws[static_cast<size_t>(walk.output) + row].allowed = walk.masks[row].data();
}

// What its rule needs beyond the rows' own draws; nothing for drafts that are verified by matching alone.
void DeviceExecutable::describe(const Walk& walk, const std::vector<std::vector<int32_t>>& paths) {
  VerifyRule rule = walk.options.rule;
  const Judge& judge = walk.judge;
  const bool twice = walk.reflection.alpha > 0 && !walk.reflection.rows.empty();
  if (rule == VerifyRule::block && (judge.weights != nullptr || !is_drawn_chain(walk))) rule = VerifyRule::ratio;
  std::vector<VivaceDeviceLaw> laws(walk.tokens.size());
  bool some = twice || judge.weights != nullptr || (rule != VerifyRule::match && rule != VerifyRule::ratio);
  const bool wants_laws = rule == VerifyRule::ratio || rule == VerifyRule::block || rule == VerifyRule::divergence;
  const size_t known = wants_laws && walk.proposal != nullptr ? walk.proposal->nodes.size() : 0;
  for (size_t row = 0; row < std::min(laws.size(), known); ++row) {
    const Proposal::Node& node = walk.proposal->nodes[row];
    // What was drawn behind the draft's end is not part of it.
    const bool drawn = node.has_law() && (rule == VerifyRule::block || !node.drawn.empty());
    if (!drawn || !walk.has_children(static_cast<int32_t>(row))) continue;
    VivaceDeviceLaw& given = laws[row];
    given.drawn = node.drawn.data();
    given.drawn_count = static_cast<int32_t>(node.drawn.size());
    some = true;
    if (node.elsewhere) {
      given.laws = static_cast<DeviceLaws&>(*walk.proposal->laws).handle();
      given.node = static_cast<int32_t>(row);
      continue;
    }
    const Law law = node.law.view();
    given.ids = law.ids;
    given.weights = law.weights;
    given.total = law.total;
    given.count = static_cast<int32_t>(law.count);
  }
  if (!some) return;
  run_->laws.push_back(std::move(laws));
  VivaceDeviceWalk given{};
  given.tokens = walk.tokens.data();
  given.parents = walk.parents.data();
  given.cycle = walk.cycle;
  given.output = static_cast<int32_t>(walk.output);
  given.rows = static_cast<int32_t>(walk.rows());
  given.replacement = walk.proposal != nullptr && walk.proposal->replacement ? 1 : 0;
  given.rule = static_cast<int32_t>(rule);
  given.first = walk.options.first;
  given.second = walk.options.second;
  given.corrects = walk.reflection.corrects ? 1 : 0;
  if (twice) describe_readings(walk, paths, given);
  if (judge.weights != nullptr)
    given.judge = {judge.weights,        static_cast<int32_t>(judge.width),
                   judge.bias,           judge.bound,
                   judge.guarded.data(), judge.longest,
                   judge.value,          static_cast<int32_t>(judge.first_row)};
  run_->walks.push_back(given);
}

// The first second reading of a row is drawn from as the row is.
void DeviceExecutable::describe_readings(const Walk& walk, const std::vector<std::vector<int32_t>>& paths,
                                         VivaceDeviceWalk& given) {
  const std::vector<int32_t>& rows = walk.reflection.rows;
  given.readings = rows.data();
  given.reading_count = static_cast<int32_t>(rows.size());
  given.alpha = walk.reflection.alpha;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (std::find(rows.begin(), rows.begin() + static_cast<int64_t>(i), rows[i]) !=
        rows.begin() + static_cast<int64_t>(i))
      continue;
    const auto row = static_cast<size_t>(rows[i]), root = static_cast<size_t>(walk.output);
    const size_t output = root + walk.tokens.size() + i;
    describe(output, *walk.sampler, paths[row]);
    run_->draws[output].top = 0;
    run_->draws[output].allowed = run_->draws[root + row].allowed;
  }
}

// What the card drew for an output; false on an error.
bool DeviceExecutable::take(size_t output, Sampler& sampler, Drawn& drawn) {
  const VivaceDeviceChoice& choice = run_->choices[output];
  SampleResult& result = drawn.results[output];
  result = {};
  if (run_->draws[output].how == VIVACE_DRAW_NONE) {
    result.error = SampleError::disposed;
    return false;
  }
  const SamplerOptions& options = *run_->states[output].options;
  result.token = choice.token;
  result.error = static_cast<SampleError>(choice.error);
  if (result.error != SampleError::none) return false;
  if (options.logprob || options.top_logprobs > 0) result.logprob = choice.logprob;
  for (int64_t i = 0; choice.top != nullptr && i < std::min<int64_t>(options.top_logprobs, options.vocab); ++i)
    drawn.top[output].push_back({choice.top[i].token, choice.top[i].logprob});
  sampler.drew(result.token);
  return true;
}

void DeviceExecutable::take(Walk& walk, Drawn& drawn) {
  walk.kept = {0};
  walk.judged.clear();
  walk.changed.clear();
  for (int32_t row = 0; row >= 0;) {
    const size_t output = static_cast<size_t>(walk.output + row);
    const int32_t marks = run_->choices[output].marks;
    if ((marks & VIVACE_MARK_CHANGED) != 0) walk.changed.push_back(row);
    if (!take(output, *walk.sampler, drawn)) return;
    row = walk.child(row, drawn.results[output].token);
    if (row > 0) walk.kept.push_back(row);
    if (row > 0 && (marks & VIVACE_MARK_JUDGED) != 0) walk.judged.push_back(row);
  }
}

// Results of the card, and draws on the host's threads.
void DeviceExecutable::take(Draws& draws) {
  std::vector<size_t> left;  // units for the host
  for (size_t i = 0; i < draws.samplers.size(); ++i) {
    if (draws.samplers[i] == nullptr) continue;
    if (run_->draws[i].how == VIVACE_DRAW_HOST)
      left.push_back(i);
    else if (take(i, *draws.samplers[i], draws.drawn) && run_->draws[i].laws != nullptr)
      draws.drafts[i].drew_elsewhere(draws.drawn.results[i].token);
  }
  for (Walk& walk : draws.walks) take(walk, draws.drawn);
  for (size_t i = 0; i < draws.trees.size(); ++i) {
    const TreeRows& rows = draws.trees[i];
    if (rows.tree->level().empty()) continue;
    if (run_->draws[first_draw(rows)].how == VIVACE_DRAW_HOST)
      left.push_back(draws.samplers.size() + draws.walks.size() + i);
    else
      take(rows, draws.drawn);
  }
  if (left.empty()) return;
  const int64_t vocab = program_.values[static_cast<size_t>(draws.logits)].columns;
  pool_->run(options_.threads, [&](Team& team) {
    for (size_t i = static_cast<size_t>(team.thread()); i < left.size(); i += static_cast<size_t>(team.threads())) {
      // Rows for the host lie one after the other, so a walk's do.
      const auto output = static_cast<size_t>(draws.first_output(left[i]) * levels_);
      draws.draw(left[i], run_->choices[output].logits, vocab);
    }
  });
}

void DeviceExecutable::start(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings, const Batch* batch,
                             PagedKv* kv, const Draws* draws, int behind) {
  bindings_.clear();
  for (const RunBinding& binding : bindings) bindings_.push_back({binding.value, binding.data});
  VivaceDeviceBatch given{};
  if (batch != nullptr) given = rows_.describe(*batch, *kv, mark_drafts(*batch, draws));
  VivaceDeviceRun run{};
  run.rows = rows;
  run.outputs = outputs;
  run.bindings = bindings_.data();
  run.binding_count = static_cast<int32_t>(bindings_.size());
  run.fed = behind > 0 ? tokens_ : -1;
  run.batch = batch != nullptr ? &given : nullptr;
  run.call_seconds = profile_.on ? seconds_.data() : nullptr;
  if (draws != nullptr) {
    describe(*draws, behind);
    run.logits = draws->logits;
    run.levels = static_cast<int32_t>(levels_);
    run.draws = run_->draws.data();
    run.walks = run_->walks.data();
    run.walk_count = static_cast<int32_t>(run_->walks.size());
  }
  VivaceDeviceError error{};
  check_device(table_.program_start(handle_, &run, &error), error);
}

// Waits for the first run that was started.
void DeviceExecutable::finish() {
  VivaceDeviceError error{};
  check_device(table_.program_finish(handle_, run_->choices.data(), &error), error);
}

// Whether the run in progress draws every token that the next one reads, and that one's draws need to know no more of
// them, as penalties do; and nothing else is wanted.
bool DeviceExecutable::can_follow() const {
  if (profile_.on || tokens_ < 0 || run_->draws.empty()) return false;
  for (const VivaceDeviceBinding& binding : bindings_)
    if (program_.values[static_cast<size_t>(binding.value)].kind != ValueKind::input) return false;
  return std::all_of(run_->draws.begin(), run_->draws.end(), [](const VivaceDeviceDraw& draw) {
    return draw.how == VIVACE_DRAW_HERE && draw.allowed == nullptr && draw.repetition_penalty == 1 &&
           draw.presence_penalty == 0 && draw.frequency_penalty == 0;
  });
}

void DeviceExecutable::run_on(int64_t rows, int64_t outputs, const std::vector<RunBinding>& bindings,
                              const Batch* batch, PagedKv* kv, Draws* draws, const std::function<void()>& meanwhile,
                              const NextRun& next) {
  while (base_ != nullptr && base_->loaded_ < 1) base_->pack(INT64_MAX);
  while (loaded_ < 1) pack(INT64_MAX);
  if (!queued_) start(rows, outputs, bindings, batch, kv, draws, 0);
  queued_ = false;
  const Batch* following = next && draws != nullptr && can_follow() ? next() : nullptr;
  Started* const own = run_;
  if (following != nullptr) {
    run_ = own == &runs_[0] ? &runs_[1] : &runs_[0];
    Started* const other = run_;
    try {
      start(following->rows, following->outputs, bindings, following, kv, draws, 1);
    } catch (...) {
      run_ = own;
      VivaceDeviceError ignored{};
      table_.program_finish(handle_, own->choices.data(), &ignored);
      throw;
    }
    run_ = own;
    ++all_queued_;
    if (meanwhile) meanwhile();
    finish();
    take(*draws);
    run_ = other;
    queued_ = true;
    return;
  }
  if (meanwhile) meanwhile();
  finish();
  const auto begin = std::chrono::steady_clock::now();
  if (draws != nullptr) take(*draws);
  if (!profile_.on) return;
  for (size_t i = 0; i + 1 < seconds_.size(); ++i)
    if (seconds_[i] >= 0) profile_.passed(i, seconds_[i]);
  if (draws != nullptr)
    profile_.drew(std::max(0.0, seconds_.back()) +
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  profile_.ran(rows, outputs, batch, kv);
}

// An error of it is found again by the next run.
void DeviceExecutable::drop() {
  if (!queued_) return;
  queued_ = false;
  VivaceDeviceError ignored{};
  table_.program_finish(handle_, run_->choices.data(), &ignored);
}

RunnerSizes DeviceExecutable::sizes() const {
  VivaceDeviceMemory memory{};
  table_.program_memory(handle_, &memory);
  RunnerSizes sizes;
  sizes.weights = memory.weights;
  sizes.arena = memory.arena + memory.buffers;
  sizes.values = memory.arena;
  sizes.round = memory.round;
  sizes.level = card_;
  sizes.threads = options_.threads;
  sizes.sent = memory.sent;
  sizes.received = memory.received;
  sizes.waited = memory.busy;
  sizes.queued = all_queued_;
  return sizes;
}

}  // namespace vivace
