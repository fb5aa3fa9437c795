#include "addon/decode/model_drafter_wrap.h"

#include <algorithm>
#include <utility>

#include "addon/decode/sampler_wrap.h"
#include "addon/decode/verify_wrap.h"
#include "addon/promise_worker.h"
#include "addon/wraps.h"
#include "program/check_cache.h"
#include "program/rounds/model_drafter.h"

namespace vivace {
namespace {

class DraftWorker final : public PromiseWorker {
 public:
  DraftWorker(const Napi::Object& owner, std::shared_ptr<SharedDrafter> drafter, int most)
      : PromiseWorker(owner.Env()), owner_(Napi::Persistent(owner)), drafter_(std::move(drafter)), most_(most) {}

 protected:
  void work() override {
    try {
      drafter_->drafter->draft(most_, most_, draft_);
    } catch (...) {
      drafter_->broken = true;
      throw;
    }
  }
  Napi::Value result() override {
    Napi::Object result = Napi::Object::New(Env());
    Napi::Int32Array tokens = Napi::Int32Array::New(Env(), draft_.tokens.size());
    Napi::Float32Array scores = Napi::Float32Array::New(Env(), draft_.scores.size());
    std::copy(draft_.tokens.begin(), draft_.tokens.end(), tokens.Data());
    std::copy(draft_.scores.begin(), draft_.scores.end(), scores.Data());
    result.Set("tokens", tokens);
    result.Set("scores", scores);
    return result;
  }

 private:
  Napi::ObjectReference owner_;
  std::shared_ptr<SharedDrafter> drafter_;
  int most_;
  Draft draft_;
};

}  // namespace

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
  // What it reads besides a batch, nobody would give it.
  bool plain = is_output && options.kv->place() == options.state->executable->place();
  for (const int id : options.state->inputs)
    plain =
        plain && (id == options.state->tokens || id == options.state->positions || id == options.state->output_rows);
  if (!plain || program.values[static_cast<size_t>(options.logits)].rows != outputs_symbol ||
      !options.kv->alive(options.sequence))
    throw Error("INTERNAL", "run: this program cannot draft by itself");
  options.sampler = unwrap_sampler(given.Get("sampler"));
  if (const Napi::Value proposal = given.Get("proposal"); proposal.IsObject())
    options.proposal = unwrap_proposal(proposal);
  options.least = given.Get("least").ToNumber().FloatValue();
  options.context = given.Get("context").ToNumber().Int64Value();
  return std::make_unique<ModelDrafter>(options);
}

Napi::Value draft_later(const Napi::Object& owner, std::shared_ptr<SharedDrafter> drafter, int most, uint64_t cycle) {
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
