#include "addon/decode/model_drafter_wrap.h"

#include <algorithm>
#include <utility>

#include "addon/decode/sampler_wrap.h"
#include "addon/decode/tree_wrap.h"
#include "addon/decode/verify_wrap.h"
#include "addon/promise_worker.h"
#include "addon/wraps.h"
#include "program/check_cache.h"
#include "program/rounds/token_heads_drafter.h"

namespace vivace {
namespace {

class DraftWorker final : public PromiseWorker {
 public:
  DraftWorker(const Napi::Object& owner, std::shared_ptr<SharedDrafter> drafter, DraftSize most)
      : PromiseWorker(owner.Env()), owner_(Napi::Persistent(owner)), drafter_(std::move(drafter)), most_(most) {}

 protected:
  void work() override {
    try {
      drafter_->drafter->draft(most_.tokens, most_.nodes, draft_);
    } catch (...) {
      drafter_->broken = true;
      throw;
    }
  }
  Napi::Value result() override {
    Napi::Object result = Napi::Object::New(Env());
    result.Set("tokens", array_of<Napi::Int32Array>(draft_.tokens));
    result.Set("parents", array_of<Napi::Int32Array>(draft_.parents));
    result.Set("scores", array_of<Napi::Float32Array>(draft_.scores));
    return result;
  }

 private:
  template <class Array, class Value>
  Array array_of(const std::vector<Value>& values) {
    Array array = Array::New(Env(), values.size());
    std::copy(values.begin(), values.end(), array.Data());
    return array;
  }

  Napi::ObjectReference owner_;
  std::shared_ptr<SharedDrafter> drafter_;
  DraftSize most_;
  Draft draft_;
};

}  // namespace

FeatureLink read_feedback(const Napi::Array& given, const Program& program) {
  const FeatureLink link{given.Get(0u).As<Napi::Number>().Int32Value(), given.Get(1u).As<Napi::Number>().Int32Value()};
  const auto value = [&](int id) -> const ValueInfo& {
    if (id < 0 || static_cast<size_t>(id) >= program.values.size()) throw Error("INTERNAL", "run: no such value");
    return program.values[static_cast<size_t>(id)];
  };
  const ValueInfo &input = value(link.input), &output = value(link.output);
  const bool returned = std::find(program.outputs.begin(), program.outputs.end(), link.output) != program.outputs.end();
  if (input.kind != ValueKind::input || input.rows != rows_symbol || output.rows != outputs_symbol || !returned ||
      input.dtype != DType::F32 || output.dtype != DType::F32 || input.columns != output.columns)
    throw Error("INTERNAL", "run: what rows feed to the next ones is an output like an input");
  return link;
}

std::unique_ptr<Drafter> make_model_drafter(const Napi::Object& given) {
  const Napi::Env env = given.Env();
  ModelDrafterOptions options;
  options.state =
      unwrap<ExecutableWrap>(env, given.Get("executable"), &AddonData::executable, "Executable")->shared(env);
  options.kv = unwrap<KvCacheWrap>(env, given.Get("kv"), &AddonData::kv_cache, "KvCache")->kv;
  if (!options.kv) throw Error("DISPOSED", "The KV cache was disposed");
  const Program& program = options.state->executable->program();
  check_cache(program, options.kv->options());
  options.sequence = given.Get("sequence").ToNumber().Int32Value();
  options.logits = given.Get("logits").ToNumber().Int32Value();
  const bool is_output =
      std::find(program.outputs.begin(), program.outputs.end(), options.logits) != program.outputs.end();
  HeadOptions& head = options.head;
  if (const Napi::Value features = given.Get("features"); features.IsNumber()) {
    head.features = features.As<Napi::Number>().Int32Value();
    if (std::find(options.state->inputs.begin(), options.state->inputs.end(), head.features) ==
        options.state->inputs.end())
      throw Error("INTERNAL", "run: what a head reads is an input");
    head.width = program.values[static_cast<size_t>(head.features)].columns;
  }
  if (given.Get("fed").IsObject())
    head.fed = unwrap<ExecutableWrap>(env, given.Get("fed"), &AddonData::executable, "Executable")->shared(env);
  if (given.Get("feedback").IsArray())
    head.link = read_feedback(given.Get("feedback").As<Napi::Array>(),
                              (head.fed ? *head.fed : *options.state).executable->program());
  // What it reads besides a batch and this, nobody would give it.
  bool plain = is_output && options.kv->place() == options.state->executable->place();
  for (const int id : options.state->inputs)
    plain = plain && (id == options.state->tokens || id == options.state->positions ||
                      id == options.state->output_rows || id == head.features);
  if (!plain || program.values[static_cast<size_t>(options.logits)].rows != outputs_symbol ||
      !options.kv->alive(options.sequence))
    throw Error("INTERNAL", "run: this program cannot draft by itself");
  options.sampler = unwrap_sampler(given.Get("sampler"));
  if (const Napi::Value proposal = given.Get("proposal"); proposal.IsObject())
    options.proposal = unwrap_proposal(proposal);
  options.least = given.Get("least").ToNumber().FloatValue();
  options.context = given.Get("context").ToNumber().Int64Value();
  if (const Napi::Value tree = given.Get("tree"); tree.IsObject())
    options.shapes.grown = read_shape(tree.As<Napi::Object>());
  if (const Napi::Value shapes = given.Get("shapes"); shapes.IsArray()) {
    const Napi::Array list = shapes.As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); ++i)
      options.shapes.fixed.push_back(read_shape(list.Get(i).As<Napi::Object>()));
  }
  options.studies = given.Get("studies").ToBoolean().Value();
  if (const Napi::Value levels = given.Get("levels"); levels.IsNumber()) {
    const int count = levels.As<Napi::Number>().Int32Value();
    if (count < 1 || head.features < 0) throw Error("INTERNAL", "run: heads want features");
    return std::make_unique<TokenHeadsDrafter>(std::move(options), count);
  }
  return std::make_unique<ModelDrafter>(std::move(options));
}

Napi::Value draft_later(const Napi::Object& owner, std::shared_ptr<SharedDrafter> drafter, DraftSize most,
                        uint64_t cycle) {
  drafter->drafter->prepare(0, most);
  DraftTerms terms;
  terms.cycle = cycle;
  drafter->drafter->set_terms(terms);
  auto* worker = new DraftWorker(owner, std::move(drafter), most);
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace vivace
