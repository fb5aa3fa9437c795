// class Executable: a program with its weights, ready to run; see lib/program/native-program.ts for the description.
#include <algorithm>
#include <cstring>

#include "addon/decode/model_drafter_wrap.h"
#include "addon/decode/sampler_wrap.h"
#include "addon/decode/seat_wrap.h"
#include "addon/decode/tree_wrap.h"
#include "addon/decode/verify_wrap.h"
#include "addon/device_wrap.h"
#include "addon/promise_worker.h"
#include "addon/round.h"
#include "addon/weights/experts_wrap.h"
#include "addon/wraps.h"
#include "device/device_executable.h"
#include "device/device_pages.h"
#include "program/check_cache.h"
#include "program/executable.h"

namespace vivace {

namespace {

// Where a weight's bytes come from: { mapping, offset } or a typed array whose bytes are copied.
const std::byte* bind_source(Napi::Env env, Napi::Value source, ValueInfo& value, ExecutableState& state) {
  const int64_t bytes = value.rows * row_bytes(value.dtype, value.columns);
  if (source.IsTypedArray()) {
    const Napi::TypedArray array = source.As<Napi::TypedArray>();
    if (static_cast<int64_t>(array.ByteLength()) != bytes)
      throw Error("SHAPE_MISMATCH", "program: " + value.name + " has the wrong number of bytes");
    state.copies.push_back(std::make_unique<Arena>());
    std::byte* data = state.copies.back()->reserve(bytes > 0 ? bytes : 1);
    std::memcpy(data, static_cast<std::byte*>(array.ArrayBuffer().Data()) + array.ByteOffset(),
                static_cast<size_t>(bytes));
    state.copied_bytes += bytes;
    return data;
  }
  const Napi::Object object = source.As<Napi::Object>();
  const MappingWrap* wrap = unwrap<MappingWrap>(env, object.Get("mapping"), &AddonData::mapping, "Mapping");
  const int64_t offset = object.Get("offset").As<Napi::Number>().Int64Value();
  if (!wrap->mapping || offset < 0 || bytes > wrap->mapping->size() || offset > wrap->mapping->size() - bytes)
    throw Error("FORMAT_TRUNCATED", "Tensor " + value.name + " lies beyond the end of its file", "Download it again.");
  state.mappings.push_back(wrap->mapping);
  value.mapped = wrap->mapping->writable() == nullptr;
  (value.mapped ? state.mapped_bytes : state.copied_bytes) += bytes;
  return wrap->mapping->data() + offset;
}

Program read_program(Napi::Env env, const Napi::Object& description, ExecutableState& state) {
  Program program;
  const Napi::Array names = description.Get("names").As<Napi::Array>();
  const Napi::Int32Array dtypes = description.Get("dtypes").As<Napi::Int32Array>();
  const Napi::Float64Array rows = description.Get("rows").As<Napi::Float64Array>();
  const Napi::Float64Array columns = description.Get("columns").As<Napi::Float64Array>();
  const Napi::Int32Array kinds = description.Get("kinds").As<Napi::Int32Array>();
  const Napi::Array sources = description.Get("sources").As<Napi::Array>();
  const uint32_t count = names.Length();
  if (dtypes.ElementLength() != count || rows.ElementLength() != count || columns.ElementLength() != count ||
      kinds.ElementLength() != count)
    throw Error("INTERNAL", "program: the value tables differ in length");
  for (uint32_t i = 0; i < count; ++i) {
    ValueInfo value;
    value.name = names.Get(i).As<Napi::String>().Utf8Value();
    value.dtype = static_cast<DType>(dtypes[i]);
    value.rows = static_cast<int64_t>(rows[i]);
    value.columns = static_cast<int64_t>(columns[i]);
    value.kind = static_cast<ValueKind>(kinds[i]);
    const DTypeInfo* type = find_dtype(value.dtype);
    if (type == nullptr || value.columns < 1 || value.columns % type->block != 0 ||
        value.columns > (int64_t{1} << 40) || value.rows > (int64_t{1} << 40))
      throw Error("SHAPE_MISMATCH", "program: " + value.name + " has no valid type or shape");
    const bool stored = value.kind == ValueKind::weight && sources.Get(i).IsNull();  // by an expert store
    if (!stored && (value.kind == ValueKind::weight || value.kind == ValueKind::constant))
      value.data = bind_source(env, sources.Get(i), value, state);
    program.values.push_back(std::move(value));
  }
  const Napi::Array calls = description.Get("calls").As<Napi::Array>();
  const auto integers = [](const Napi::Value& list) {
    const Napi::Array array = list.As<Napi::Array>();
    std::vector<int> out;
    for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(array.Get(i).As<Napi::Number>().Int32Value());
    return out;
  };
  for (uint32_t i = 0; i < calls.Length(); ++i) {
    const Napi::Object object = calls.Get(i).As<Napi::Object>();
    CallInfo call;
    const std::string name = object.Get("op").As<Napi::String>().Utf8Value();
    call.op = find_op(name.c_str());
    if (call.op == nullptr) throw Error("INTERNAL", "program: this build has no op " + name);
    call.inputs = integers(object.Get("inputs"));
    call.outputs = integers(object.Get("outputs"));
    if (call.inputs.size() > static_cast<size_t>(max_inputs) || call.outputs.size() > static_cast<size_t>(max_outputs))
      throw Error("INTERNAL", "program: " + name + " has too many inputs or outputs");
    const Napi::Array attributes = object.Get("attributes").As<Napi::Array>();
    for (uint32_t k = 0; k < attributes.Length(); ++k)
      call.attributes.push_back(attributes.Get(k).As<Napi::Number>().DoubleValue());
    program.calls.push_back(std::move(call));
  }
  program.outputs = integers(description.Get("outputs"));
  return program;
}

std::byte* bytes_of(const Napi::TypedArray& array) {
  return static_cast<std::byte*>(array.ArrayBuffer().Data()) + array.ByteOffset();
}

// [[value id, typed array], …]: checked for size, kept alive by the caller.
std::vector<RunBinding> read_bindings(const Runner& executable, const Napi::Array& list, int64_t rows,
                                      int64_t outputs) {
  std::vector<RunBinding> bindings;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Array pair = list.Get(i).As<Napi::Array>();
    const int id = pair.Get(0u).As<Napi::Number>().Int32Value();
    const Napi::TypedArray array = pair.Get(1u).As<Napi::TypedArray>();
    if (id < 0 || static_cast<size_t>(id) >= executable.program().values.size())
      throw Error("INTERNAL", "run: no such value");
    const ValueInfo& value = executable.program().values[static_cast<size_t>(id)];
    const int64_t bytes = actual_rows(value, rows, outputs) * row_bytes(value.dtype, value.columns);
    if (static_cast<int64_t>(array.ByteLength()) != bytes)
      throw Error("SHAPE_MISMATCH", "run: " + value.name + " needs " + std::to_string(bytes) + " bytes, received " +
                                        std::to_string(array.ByteLength()));
    bindings.push_back({id, bytes_of(array)});
  }
  return bindings;
}

// [{ output, rows, … of read_walk }]
void read_walks(const Napi::Array& list, Round& round) {
  if (!round.has_batch || (round.ahead && !round.ahead->drafts))
    throw Error("INTERNAL", "run: drafts want a batch and one round, or drafters that go on");
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object given = list.Get(i).As<Napi::Object>();
    Walk walk = read_walk(given, round.state->executable->place());
    walk.output = given.Get("output").As<Napi::Number>().Int64Value();
    round.batch.describe(walk, given.Get("rows").As<Napi::Number>().Int64Value());
    if (!walk.masks.empty() && static_cast<int64_t>(walk.masks.size()) != walk.rows())
      throw Error("INTERNAL", "run: a draft wants a mask or null per row");
    for (int64_t row = 0; row < walk.outputs(); ++row)
      if (round.draws.samplers[static_cast<size_t>(walk.output + row)] != nullptr)
        throw Error("INTERNAL", "run: an output is drawn and verified");
    for (const Walk& other : round.draws.walks)
      if (walk.output < other.output + other.outputs() && other.output < walk.output + walk.outputs())
        throw Error("INTERNAL", "run: two drafts share an output");
    const int32_t root = round.batch.batch().output_rows[static_cast<size_t>(walk.output)];
    if (walk.judge.weights != nullptr) {
      const Napi::Value value = given.Get("judge").As<Napi::Object>().Get("value");
      const int feature = value.IsNumber() ? value.As<Napi::Number>().Int32Value() : -1;
      find_hidden(walk, *round.state->executable, round.bindings, feature, root);
    }
    round.draws.walks.push_back(std::move(walk));
  }
}

// [proposal | null] per output, { cycle }
void read_drafts(const Napi::Object& given, Round& round) {
  const Napi::Array proposals = given.Get("proposals").As<Napi::Array>();
  const Napi::Float64Array cycles = given.Get("cycles").As<Napi::Float64Array>();
  if (proposals.Length() != round.outputs || static_cast<int64_t>(cycles.ElementLength()) != round.outputs)
    throw Error("INTERNAL", "run: drafts want a proposal or null per output");
  for (uint32_t i = 0; i < proposals.Length(); ++i) {
    DraftRecord draft;
    const Napi::Value proposal = proposals.Get(i);
    if (!proposal.IsNull()) draft.proposal = unwrap_proposal(proposal);
    if (draft.proposal != nullptr) draft.proposal->nodes.clear();
    draft.cycle = static_cast<uint64_t>(std::max(1.0, cycles[i]));
    round.draws.drafts.push_back(draft);
  }
}

// { logits, samplers, masks?, walks?, drafts?, tokens, logprobs, errors, kept }
void read_sampling(const Napi::Object& given, Round& round) {
  const Runner& executable = *round.state->executable;
  round.draws.logits = given.Get("logits").As<Napi::Number>().Int32Value();
  const Napi::Array samplers = given.Get("samplers").As<Napi::Array>();
  bool is_output = false;
  for (int id : executable.program().outputs) is_output = is_output || id == round.draws.logits;
  if (!is_output || samplers.Length() != round.outputs ||
      executable.program().values[static_cast<size_t>(round.draws.logits)].rows != outputs_symbol)
    throw Error("INTERNAL", "run: sampling wants the logits of every output");
  for (const char* name : {"tokens", "logprobs", "errors", "kept"})
    if (static_cast<int64_t>(given.Get(name).As<Napi::TypedArray>().ElementLength()) != round.outputs)
      throw Error("INTERNAL", std::string("run: ") + name + " has the wrong length");
  for (uint32_t i = 0; i < samplers.Length(); ++i) {
    const Napi::Value sampler = samplers.Get(i);
    round.draws.samplers.push_back(sampler.IsNull() ? nullptr : unwrap_sampler(sampler));
  }
  if (given.Get("masks").IsArray()) {
    const Napi::Array masks = given.Get("masks").As<Napi::Array>();
    if (masks.Length() != round.outputs || round.ahead)
      throw Error("INTERNAL", "run: masks are a mask or null per output of one round");
    for (uint32_t i = 0; i < masks.Length(); ++i) {
      const Sampler* sampler = round.draws.samplers[i];
      round.draws.masks.push_back(sampler == nullptr ? std::vector<uint32_t>() : read_mask(masks.Get(i), *sampler));
    }
  }
  round.draws.clear();
  if (given.Get("walks").IsArray()) read_walks(given.Get("walks").As<Napi::Array>(), round);
  if (given.Get("drafts").IsObject()) read_drafts(given.Get("drafts").As<Napi::Object>(), round);
  if (given.Get("trees").IsArray()) read_trees(given.Get("trees").As<Napi::Array>(), round);
  if (!round.ahead) return;
  bool all = round.has_batch && round.batch.can_follow();
  for (const RunBinding& binding : round.bindings) all = all && binding.value != round.draws.logits;
  if (!all) throw Error("INTERNAL", "run: rounds ahead want draws after the last rows of every sequence");
  place_seats(round);
}

// Writes what was drawn into these arrays; gives the reports that lib/native.ts describes.
Napi::Value report_draws(Napi::Env env, const Napi::Object& given, const Drawn& drawn) {
  Napi::Int32Array tokens = given.Get("tokens").As<Napi::Int32Array>();
  Napi::Float32Array logprobs = given.Get("logprobs").As<Napi::Float32Array>();
  Napi::Int32Array errors = given.Get("errors").As<Napi::Int32Array>();
  Napi::Array reports = Napi::Array::New(env, drawn.results.size());
  for (uint32_t i = 0; i < drawn.results.size(); ++i) {
    reports.Set(i, env.Null());
    const SampleResult& result = drawn.results[i];
    tokens[i] = result.token;  // -1 where nothing was drawn
    logprobs[i] = result.logprob;
    errors[i] = static_cast<int32_t>(result.error);
    if (result.error != SampleError::none) {
      reports.Set(i, describe(result.error));
      continue;
    }
    const std::vector<TokenLogprob>& top = drawn.top[i];
    if (top.empty()) continue;
    Napi::Float64Array pairs = Napi::Float64Array::New(env, top.size() * 2);
    for (size_t k = 0; k < top.size(); ++k) {
      pairs[2 * k] = top[k].token;
      pairs[2 * k + 1] = static_cast<double>(top[k].logprob);
    }
    reports.Set(i, pairs);
  }
  return reports;
}

// Bits of each output of a draft: 1 for one that stays in the cache, 2 where only the judge kept it, 4 where the second
// reading's most probable token is another one.
void report_walks(const Napi::Object& given, const std::vector<Walk>& walks) {
  Napi::Int32Array kept = given.Get("kept").As<Napi::Int32Array>();
  for (const Walk& walk : walks) {
    for (const int32_t row : walk.kept) kept[static_cast<size_t>(walk.output + row)] = 1;
    for (const int32_t row : walk.judged) kept[static_cast<size_t>(walk.output + row)] |= 2;
    for (const int32_t row : walk.changed) kept[static_cast<size_t>(walk.output + row)] |= 4;
  }
}

// { rows, outputs, bindings, batch?: { tokens, positions, sequences, parents?, outputRows, kv }, sampling?, ahead?,
// feedback? }
void read_round(Napi::Env env, const Napi::Object& request, Round& round) {
  const Runner& executable = *round.state->executable;
  round.rows = request.Get("rows").As<Napi::Number>().Int64Value();
  round.outputs = request.Get("outputs").As<Napi::Number>().Int64Value();
  if (round.rows < 1 || round.rows > (1 << 20) || round.outputs < 0 || round.outputs > (1 << 20))
    throw Error("INTERNAL", "run: the number of rows is out of range");
  round.bindings = read_bindings(executable, request.Get("bindings").As<Napi::Array>(), round.rows, round.outputs);
  if (request.Get("batch").IsObject()) {
    const Napi::Object given = request.Get("batch").As<Napi::Object>();
    const auto integers = [&](const char* name, int64_t length) {
      const Napi::Int32Array array = given.Get(name).As<Napi::Int32Array>();
      if (static_cast<int64_t>(array.ElementLength()) != length)
        throw Error("INTERNAL", std::string("run: ") + name + " has the wrong length");
      return array.Data();
    };
    round.kv = unwrap<KvCacheWrap>(env, given.Get("kv"), &AddonData::kv_cache, "KvCache")->kv;
    if (!round.kv) throw Error("DISPOSED", "The KV cache was disposed");
    if (round.kv->place() != executable.place())
      throw Error("INVALID_ARGUMENT", "run: the KV cache lies on another device than the program");
    if (!(round.kv->options() == round.state->checked)) {
      check_cache(executable.program(), round.kv->options());
      round.state->checked = round.kv->options();
    }
    BatchRequest batch;
    batch.rows = round.rows;
    batch.outputs = round.outputs;
    batch.tokens = integers("tokens", round.rows);
    batch.positions = integers("positions", round.rows);
    batch.sequences = integers("sequences", round.rows);
    batch.parents = given.Get("parents").IsTypedArray() ? integers("parents", round.rows) : nullptr;
    batch.output_rows = integers("outputRows", round.outputs);
    read_compression(given.Get("compress"), batch);
    if (given.Get("part").IsTypedArray()) {
      batch.part = integers("part", 4);
      batch.carried = executable.carried_bytes();
      if (request.Get("ahead").IsObject() || batch.part[0] < 0 || batch.part[0] >= executable.parts() ||
          executable.parts() != round.kv->options().layers)
        throw Error("INTERNAL", "run: the program has no such part");
    }
    int cells = static_cast<int>(cells_of_trees(request.Get("sampling"))), drafted = 0, begun = 0;
    if (request.Get("ahead").IsObject()) {
      const Napi::Object ahead = request.Get("ahead").As<Napi::Object>();
      round.ahead = read_ahead(ahead, *round.kv);
      cells = round.ahead->most - 1;
      if (ahead.Get("drafters").IsArray())
        round.seats = read_seats(ahead.Get("drafters").As<Napi::Array>(), executable.program(), round.rows);
      round.ahead->drafts = !round.seats.empty();
    }
    std::vector<ProbeRows> probes;
    for (const DraftSeat& seat : round.seats) {
      const int behind = seat.prober == nullptr ? 0 : static_cast<int>(seat.drafter->drafter->probe_rows());
      drafted = std::max(drafted, seat.most.nodes + behind);
      if (seat.begins) begun = seat.wanted().nodes;
      if (seat.drafter)
        cells = std::max(cells, static_cast<int>(std::min(seat.left, int64_t{most_cells_ahead})) + behind);
      probes.push_back({seat.probe_rows, seat.probes});
    }
    round.batch.build(batch, round.kv.get(), cells, 1 + drafted, begun, probes);
    round.has_batch = true;
    const auto bind = [&](int id, const int32_t* data) {
      if (id >= 0) round.bindings.push_back({id, reinterpret_cast<std::byte*>(const_cast<int32_t*>(data))});
    };
    bind(round.state->tokens, round.batch.batch().tokens);
    bind(round.state->positions, round.batch.batch().positions);
    bind(round.state->output_rows, round.batch.batch().output_rows);
  }
  if (request.Get("feedback").IsArray()) {
    if (request.Get("fed").IsObject()) {
      round.fed = unwrap<ExecutableWrap>(env, request.Get("fed"), &AddonData::executable, "Executable")->shared(env);
      if (round.fed->running != round.state->running)
        throw Error("INTERNAL", "run: what goes on with fed rows shares weights with the program");
    }
    const ExecutableState& reads = round.fed ? *round.fed : *round.state;
    round.link = read_feedback(request.Get("feedback").As<Napi::Array>(), reads.executable->program());
  }
  if (request.Get("sampling").IsObject()) read_sampling(request.Get("sampling").As<Napi::Object>(), round);
  // Every input must have memory; kernels do not check.
  for (int id : round.state->inputs) {
    bool bound = false;
    for (const RunBinding& binding : round.bindings) bound = bound || binding.value == id;
    if (!bound)
      throw Error("INTERNAL",
                  "run: input " + executable.program().values[static_cast<size_t>(id)].name + " is missing");
  }
  if (round.state->wants_batch && !round.has_batch)
    throw Error("INTERNAL", "run: this program needs a batch and a KV cache");
}

class RoundWorker final : public PromiseWorker {
 public:
  RoundWorker(Napi::Env env, std::unique_ptr<Round> round, Napi::Object request)
      : PromiseWorker(env), round_(std::move(round)) {
    request_ = std::make_shared<Napi::ObjectReference>(Napi::Persistent(request));  // keeps the caller's arrays alive
    if (round_->ahead) tell_each_round(env, request.Get("ahead").As<Napi::Object>());
  }

 protected:
  void work() override { round_->execute(); }
  Napi::Value result() override {
    stop_messages();
    const Napi::Object request = request_->Value();
    if (round_->ahead) {
      round_->ahead->told.push_back(round_->take_last());
      tell_(Env(), request);
      return Env().Undefined();
    }
    if (round_->has_batch) round_->batch.commit(round_->kv.get(), round_->draws.walks);
    const Napi::Value sampling = request.Get("sampling");
    if (!sampling.IsObject()) return Env().Undefined();
    report_walks(sampling.As<Napi::Object>(), round_->draws.walks);
    report_trees(sampling.As<Napi::Object>(), round_->trees);
    return report_draws(Env(), sampling.As<Napi::Object>(), round_->draws.drawn);
  }
  void failed() override {
    stop_messages();
    if (round_->ahead) tell_(Env(), request_->Value());
  }

 private:
  // Calls ahead.told(reports, round) for every round that is over, on the JavaScript thread and in order. Whoever comes
  // first empties the list: a message of the run's thread, or the end of the run.
  void tell_each_round(Napi::Env env, const Napi::Object& given) {
    const Napi::Function told = given.Get("told").As<Napi::Function>();
    messages_ = Napi::ThreadSafeFunction::New(env, told, "vivace rounds", 0, 1);
    tell_ = [ahead = round_->ahead](Napi::Env caller, const Napi::Object& request) {
      std::vector<Told> rounds;
      {
        std::lock_guard lock(ahead->mutex);
        rounds.swap(ahead->told);
      }
      const Napi::Function hear = request.Get("ahead").As<Napi::Object>().Get("told").As<Napi::Function>();
      for (const Told& told : rounds) {
        const Napi::Object round = report_round(caller, told, ahead->drafts);
        const Napi::Object out = ahead->drafts ? round : request.Get("sampling").As<Napi::Object>();
        hear.Call({report_draws(caller, out, told.drawn), round});
      }
    };
    round_->ahead->tell = [this] {
      const auto hear = [tell = tell_, request = request_](Napi::Env caller, Napi::Function) {
        tell(caller, request->Value());
      };
      if (messages_.NonBlockingCall(hear) == napi_closing) round_->ahead->closed = true;  // the environment ends
    };
  }
  void stop_messages() {
    if (round_->ahead && !round_->ahead->closed) messages_.Release();
  }

  std::unique_ptr<Round> round_;
  std::shared_ptr<Napi::ObjectReference> request_;
  std::function<void(Napi::Env, const Napi::Object&)> tell_;
  Napi::ThreadSafeFunction messages_;
};

// Rewrites some weights off the JavaScript thread.
class PackWorker final : public PromiseWorker {
 public:
  PackWorker(Napi::Env env, std::shared_ptr<ExecutableState> state, int64_t bytes)
      : PromiseWorker(env), state_(std::move(state)), bytes_(bytes) {}

 protected:
  void work() override {
    std::lock_guard turn(*state_->running);
    done_ = state_->executable->pack(bytes_);
  }
  Napi::Value result() override { return Napi::Number::New(Env(), done_); }

 private:
  std::shared_ptr<ExecutableState> state_;
  int64_t bytes_;
  double done_ = 0;
};

}  // namespace

Napi::Function ExecutableWrap::define(Napi::Env env) {
  return DefineClass(
      env, "Executable",
      {InstanceMethod<&ExecutableWrap::run>("run"), InstanceMethod<&ExecutableWrap::run_sync>("runSync"),
       InstanceMethod<&ExecutableWrap::pack>("pack"), InstanceMethod<&ExecutableWrap::pack_sync>("packSync"),
       InstanceMethod<&ExecutableWrap::sizes>("sizes"), InstanceMethod<&ExecutableWrap::profile>("profile"),
       InstanceMethod<&ExecutableWrap::routing>("routing"), InstanceMethod<&ExecutableWrap::experts>("experts"),
       InstanceMethod<&ExecutableWrap::close>("close")});
}

ExecutableWrap::ExecutableWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ExecutableWrap>(info) {
  guarded(info.Env(), [&] {
    const Napi::Object given = info[1].As<Napi::Object>();
    ExecutableOptions options;
    options.threads = given.Get("threads").As<Napi::Number>().Int32Value();
    if (given.Get("bytesPerThread").IsNumber())
      options.bytes_per_thread = given.Get("bytesPerThread").As<Napi::Number>().Int64Value();
    options.fuse = given.Get("fuse").ToBoolean().Value();
    options.isa = best_isa();
    if (given.Get("isa").IsString())
      options.isa = isa_named(info.Env(), given.Get("isa").As<Napi::String>().Utf8Value());
    if (options.threads < 1 || options.threads > 256) throw Error("INVALID_ARGUMENT", "threads must be 1 to 256");
    DeviceOptions device;
    device.threads = options.threads;
    device.fuse = options.fuse;
    device.library = read_device(given.Get("device"), device.device);
    options.experts = read_experts(given.Get("experts"));
    auto state = std::make_shared<ExecutableState>();
    Program program = read_program(info.Env(), info[0].As<Napi::Object>(), *state);
    if (given.Get("shares").IsObject()) {
      state->base =
          unwrap<ExecutableWrap>(info.Env(), given.Get("shares"), &AddonData::executable, "Executable")->state_;
      if (!state->base) throw Error("DISPOSED", "The model was disposed");
      state->running = state->base->running;
    }
    Runner* const base = state->base ? state->base->executable.get() : nullptr;
    if (device.library) {
      auto* shared = dynamic_cast<DeviceExecutable*>(base);
      if (base != nullptr && (shared == nullptr || shared->place() != place_of(*device.library, device.device)))
        throw Error("INTERNAL", "program: weights are shared by programs of one device");
      state->executable = std::make_unique<DeviceExecutable>(std::move(program), device, shared);
    } else {
      auto* shared = dynamic_cast<Executable*>(base);
      if (base != nullptr && shared == nullptr)
        throw Error("INTERNAL", "program: weights are shared by programs of one device");
      state->executable = std::make_unique<Executable>(std::move(program), options, shared);
    }
    state->look_up();
    state_ = std::move(state);
  });
}

ExecutableState& ExecutableWrap::alive(Napi::Env env) {
  if (!state_) throw to_napi(env, "DISPOSED", "The model was disposed", "");
  return *state_;
}

Napi::Value ExecutableWrap::run(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    alive(info.Env());
    auto round = std::make_unique<Round>();
    round->state = state_;
    const Napi::Object request = info[0].As<Napi::Object>();
    read_round(info.Env(), request, *round);
    auto* worker = new RoundWorker(info.Env(), std::move(round), request);
    const Napi::Promise promise = worker->promise();
    worker->Queue();
    return promise;
  });
}

void ExecutableWrap::run_sync(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    alive(info.Env());
    Round round;
    round.state = state_;
    read_round(info.Env(), info[0].As<Napi::Object>(), round);
    round.execute();
    if (round.has_batch) round.batch.commit(round.kv.get(), round.draws.walks);
  });
}

// pack(bytes): Promise<share done>
Napi::Value ExecutableWrap::pack(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    alive(info.Env());
    auto* worker = new PackWorker(info.Env(), state_, info[0].As<Napi::Number>().Int64Value());
    const Napi::Promise promise = worker->promise();
    worker->Queue();
    return promise;
  });
}

// packSync(): all of them
void ExecutableWrap::pack_sync(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    ExecutableState& state = alive(info.Env());
    std::lock_guard turn(*state.running);
    while (state.executable->pack(INT64_MAX) < 1) {
    }
  });
}

// { mapped, copied, packed, arena, values, round, isa, threads, sent, received, waited, queued, parts, calls }
Napi::Value ExecutableWrap::sizes(const Napi::CallbackInfo& info) {
  const ExecutableState& state = alive(info.Env());
  Napi::Object sizes = Napi::Object::New(info.Env());
  const RunnerSizes held = state.executable->sizes();
  sizes.Set("mapped", static_cast<double>(state.mapped_bytes - held.released));
  sizes.Set("copied", static_cast<double>(state.copied_bytes));
  sizes.Set("packed", static_cast<double>(held.weights));
  sizes.Set("arena", static_cast<double>(held.arena));
  sizes.Set("values", static_cast<double>(held.values));
  sizes.Set("round", static_cast<double>(held.round));
  sizes.Set("isa", held.level);
  sizes.Set("threads", held.threads);
  sizes.Set("sent", static_cast<double>(held.sent));
  sizes.Set("received", static_cast<double>(held.received));
  sizes.Set("waited", held.waited);
  sizes.Set("queued", static_cast<double>(held.queued));
  sizes.Set("parts", state.executable->parts());
  sizes.Set("calls", static_cast<double>(state.executable->program().calls.size()));
  return sizes;
}

// experts(): NativeExpertStatistics, or undefined where all experts are in memory
Napi::Value ExecutableWrap::experts(const Napi::CallbackInfo& info) {
  return report_experts(info.Env(), alive(info.Env()).executable->experts().get());
}

// routing(on?: boolean): what was recorded since it was last asked for, as lib/experts/trace.ts reads it
Napi::Value ExecutableWrap::routing(const Napi::CallbackInfo& info) {
  ExecutableState& state = alive(info.Env());
  std::lock_guard turn(*state.running);
  const std::shared_ptr<RoutingTrace> trace = state.executable->routing();
  const std::vector<int32_t> words = trace ? trace->take() : std::vector<int32_t>();
  if (trace && info[0].IsBoolean()) trace->on = info[0].As<Napi::Boolean>().Value();
  Napi::Int32Array out = Napi::Int32Array::New(info.Env(), words.size());
  std::copy(words.begin(), words.end(), out.Data());
  return out;
}

// profile(on?: boolean): what lib/native.ts calls NativeCallProfile, for each call
Napi::Value ExecutableWrap::profile(const Napi::CallbackInfo& info) {
  ExecutableState& state = alive(info.Env());
  std::lock_guard turn(*state.running);
  if (info[0].IsBoolean()) state.executable->set_profiling(info[0].As<Napi::Boolean>().Value());
  Napi::Array list = Napi::Array::New(info.Env());
  for (const CallProfile& call : state.executable->profile()) {
    Napi::Object row = Napi::Object::New(info.Env());
    row.Set("op", call.op);
    row.Set("weight", call.weight);
    row.Set("dtype", static_cast<double>(call.dtype));
    row.Set("rows", static_cast<double>(call.rows));
    row.Set("columns", static_cast<double>(call.columns));
    row.Set("calls", static_cast<double>(call.calls));
    row.Set("seconds", call.seconds);
    row.Set("bytes", call.bytes);
    row.Set("operations", call.operations);
    list.Set(list.Length(), row);
  }
  return list;
}

void ExecutableWrap::close(const Napi::CallbackInfo&) {
  state_.reset();
}

}  // namespace vivace
