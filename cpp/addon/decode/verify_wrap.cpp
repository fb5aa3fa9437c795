#include "addon/decode/verify_wrap.h"

#include <algorithm>

#include "addon/decode/sampler_wrap.h"
#include "addon/device_wrap.h"
#include "addon/error_wrap.h"
#include "device/device_pages.h"

namespace vivace {
namespace {

constexpr napi_type_tag proposal_tag = {0x2f1c5e0d7a934b61ULL, 0xb4e8d3f60c2a9157ULL};

template <class Array>
Array typed(const Napi::Value& value, napi_typedarray_type type, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type)
    throw Error("INTERNAL", std::string("verify: ") + name + " is no array of the right type");
  return value.As<Array>();
}

std::vector<int32_t> integers(const Napi::Value& value, const char* name) {
  const auto array = typed<Napi::Int32Array>(value, napi_int32_array, name);
  return {array.Data(), array.Data() + array.ElementLength()};
}

class ProposalWrap : public Napi::ObjectWrap<ProposalWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Proposal",
                       {InstanceMethod<&ProposalWrap::set>("set"), InstanceMethod<&ProposalWrap::clear>("clear"),
                        InstanceMethod<&ProposalWrap::read>("read"), InstanceAccessor<&ProposalWrap::size>("size")});
  }

  explicit ProposalWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ProposalWrap>(info) {
    info.This().As<Napi::Object>().TypeTag(&proposal_tag);
    proposal.replacement = info[0].ToBoolean().Value();
    guarded(info.Env(), [&] {
      int device = 0;
      const auto library = read_device(info[1], device);
      if (library) proposal.place = place_of(*library, device);
    });
  }

  Proposal proposal;

 private:
  // set(node, ids, weights, drawn): ids ascend, weights are not negative and not all 0
  void set(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] {
      const int64_t node = info[0].As<Napi::Number>().Int64Value();
      std::vector<int32_t> ids = integers(info[1], "ids");
      const auto given = typed<Napi::Float32Array>(info[2], napi_float32_array, "weights");
      std::vector<float> weights(given.Data(), given.Data() + given.ElementLength());
      bool sound = node >= 0 && node < (1 << 16) && ids.size() == weights.size();
      double total = 0;
      for (size_t i = 0; sound && i < ids.size(); ++i) {
        sound = ids[i] >= 0 && (i == 0 || ids[i] > ids[i - 1]) && weights[i] >= 0;
        total += weights[i];
      }
      if (!sound || !(total > 0)) throw Error("INTERNAL", "verify: a proposal's law makes no sense");
      if (static_cast<size_t>(node) >= proposal.nodes.size()) proposal.nodes.resize(static_cast<size_t>(node) + 1);
      proposal.nodes[static_cast<size_t>(node)] = {StoredLaw(std::move(ids), std::move(weights)),
                                                   integers(info[3], "drawn"), false};
    });
  }
  void clear(const Napi::CallbackInfo&) { proposal.nodes.clear(); }
  // read(node): { ids, weights, drawn }, weights normalised
  Napi::Value read(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return read_node(info); });
  }
  Napi::Value read_node(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const int64_t node = info[0].As<Napi::Number>().Int64Value();
    if (node < 0 || static_cast<size_t>(node) >= proposal.nodes.size()) return env.Null();
    const Proposal::Node& held = proposal.nodes[static_cast<size_t>(node)];
    const StoredLaw stored = proposal.law_of(static_cast<size_t>(node));
    const Law law = stored.view();
    Napi::Int32Array ids = Napi::Int32Array::New(env, static_cast<size_t>(law.count));
    Napi::Float32Array weights = Napi::Float32Array::New(env, static_cast<size_t>(law.count));
    Napi::Int32Array drawn = Napi::Int32Array::New(env, held.drawn.size());
    for (size_t i = 0; i < ids.ElementLength(); ++i) {
      ids[i] = law.ids[i];
      weights[i] = static_cast<float>(law.weights[i] / law.total);
    }
    for (size_t i = 0; i < held.drawn.size(); ++i) drawn[i] = held.drawn[i];
    Napi::Object result = Napi::Object::New(env);
    result.Set("ids", ids);
    result.Set("weights", weights);
    result.Set("drawn", drawn);
    return result;
  }
  Napi::Value size(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(proposal.nodes.size()));
  }
};

// verify({ …, logits [outputs, vocab], hidden?, tokens, parents, vocab, out, kept, logprobs? }): one walk by itself,
// for tests and for drafts that are verified without a run. `out` [rows] receives the token after each visited row,
// `kept` [rows] the bits that a run's have.
void verify_now(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const Napi::Object given = info[0].As<Napi::Object>();
    Walk walk = read_walk(given, nullptr);
    walk.tokens = integers(given.Get("tokens"), "tokens");
    walk.parents = integers(given.Get("parents"), "parents");
    auto logits = typed<Napi::Float32Array>(given.Get("logits"), napi_float32_array, "logits");
    auto out = typed<Napi::Int32Array>(given.Get("out"), napi_int32_array, "out");
    auto kept = typed<Napi::Int32Array>(given.Get("kept"), napi_int32_array, "kept");
    const int64_t vocab = given.Get("vocab").As<Napi::Number>().Int64Value();
    const size_t rows = walk.tokens.size();
    bool sound = rows > 0 && walk.parents.size() == rows && out.ElementLength() == rows &&
                 kept.ElementLength() == rows && vocab > 0 &&
                 logits.ElementLength() == static_cast<size_t>(walk.outputs() * vocab) && walk.parents[0] == -1 &&
                 (walk.masks.empty() || walk.masks.size() == rows);
    for (const int32_t row : walk.reflection.rows) sound = sound && row >= 0 && static_cast<size_t>(row) < rows;
    for (size_t i = 1; sound && i < rows; ++i)
      sound = walk.parents[i] >= 0 && walk.parents[i] < static_cast<int32_t>(i);
    if (!sound) throw Error("INTERNAL", "verify: the rows make no sense");
    if (walk.judge.weights != nullptr) {
      const auto hidden = typed<Napi::Float32Array>(given.Get("hidden"), napi_float32_array, "hidden");
      if (hidden.ElementLength() != rows * static_cast<size_t>(walk.judge.width))
        throw Error("INTERNAL", "verify: hidden has the wrong length");
      walk.judge.hidden = hidden.Data();
    }
    std::vector<SampleResult> results(rows);
    std::vector<std::vector<TokenLogprob>> top(rows);
    verify(walk, logits.Data(), vocab, results.data(), top.data());
    for (size_t i = 0; i < rows; ++i) {
      if (results[i].error != SampleError::none)
        throw Error(results[i].error == SampleError::disposed ? "DISPOSED" : "NUMERIC", describe(results[i].error));
      out[i] = results[i].token;
      kept[i] = 0;
    }
    for (const int32_t row : walk.kept) kept[static_cast<size_t>(row)] = 1;
    for (const int32_t row : walk.judged) kept[static_cast<size_t>(row)] |= 2;
    for (const int32_t row : walk.changed) kept[static_cast<size_t>(row)] |= 4;
    if (!given.Get("logprobs").IsTypedArray()) return;
    auto logprobs = typed<Napi::Float32Array>(given.Get("logprobs"), napi_float32_array, "logprobs");
    for (size_t i = 0; i < std::min(rows, logprobs.ElementLength()); ++i) logprobs[i] = results[i].logprob;
  });
}

}  // namespace

void init_verify(Napi::Env env, Napi::Object exports) {
  exports.Set("Proposal", ProposalWrap::define(env));
  exports.Set("verify", Napi::Function::New(env, verify_now));
}

Proposal* unwrap_proposal(Napi::Value value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&proposal_tag))
    throw to_napi(value.Env(), "INTERNAL", "expected a Proposal", "");
  return &ProposalWrap::Unwrap(value.As<Napi::Object>())->proposal;
}

void find_hidden(Walk& walk, const Runner& executable, const std::vector<RunBinding>& bindings, int hidden,
                 int32_t root) {
  const Program& program = executable.program();
  Judge& judge = walk.judge;
  judge.value = hidden;
  judge.first_row = root;
  judge.guarded.resize(static_cast<size_t>(walk.rows()), 0);
  bool there = executable.place() != nullptr;
  for (const RunBinding& binding : bindings) {
    if (binding.value != hidden) continue;
    judge.hidden = reinterpret_cast<const float*>(binding.data) + judge.first_row * judge.width;
    there = true;
  }
  if (!there) throw Error("INTERNAL", "run: a judge wants hidden states");
  check_hidden(judge, program);
}

void check_hidden(const Judge& judge, const Program& program) {
  const int hidden = judge.value;
  if (std::count(program.outputs.begin(), program.outputs.end(), hidden) == 0)
    throw Error("INTERNAL", "run: a judge wants hidden states");
  const ValueInfo& value = program.values[static_cast<size_t>(hidden)];
  if (value.rows != rows_symbol || value.columns != judge.width || value.dtype != DType::F32)
    throw Error("SHAPE_MISMATCH", "run: the judge's head has " + std::to_string(judge.width) +
                                      " weights, the model's hidden state " + std::to_string(value.columns));
}

std::vector<uint32_t> read_mask(const Napi::Value& value, const Sampler& sampler) {
  if (value.IsNull()) return {};
  const auto words = typed<Napi::Uint32Array>(value, napi_uint32_array, "a mask");
  if (static_cast<int64_t>(words.ElementLength()) * 32 < sampler.vocab())
    throw Error("INTERNAL", "verify: a mask has too few words");
  return {words.Data(), words.Data() + words.ElementLength()};
}

Judge read_judge(const Napi::Object& given) {
  Judge judge;
  const auto weights = typed<Napi::Float32Array>(given.Get("weights"), napi_float32_array, "judge.weights");
  judge.weights = weights.Data();
  judge.width = static_cast<int64_t>(weights.ElementLength());
  judge.bias = given.Get("bias").As<Napi::Number>().FloatValue();
  judge.bound = given.Get("bound").As<Napi::Number>().DoubleValue();
  judge.longest = given.Get("longest").As<Napi::Number>().Int32Value();
  if (judge.width < 1) throw Error("INTERNAL", "verify: a judge without weights");
  return judge;
}

Walk read_walk(const Napi::Object& given, const void* place) {
  Walk walk;
  walk.sampler = unwrap_sampler(given.Get("sampler"));
  const int32_t rule = given.Get("rule").As<Napi::Number>().Int32Value();
  if (rule < 0 || rule > static_cast<int32_t>(VerifyRule::divergence)) throw Error("INTERNAL", "verify: no such rule");
  walk.options.rule = static_cast<VerifyRule>(rule);
  const auto number = [&](const char* name) {
    const Napi::Value value = given.Get(name);
    return value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0.0;
  };
  walk.options.first = number("first");
  walk.options.second = number("second");
  walk.cycle = static_cast<uint64_t>(std::max(1.0, number("cycle")));
  const Napi::Value proposal = given.Get("proposal");
  if (given.Get("reflection").IsObject()) {
    const Napi::Object second = given.Get("reflection").As<Napi::Object>();
    walk.reflection.alpha = second.Get("alpha").As<Napi::Number>().DoubleValue();
    walk.reflection.corrects = second.Get("corrects").ToBoolean().Value();
    walk.reflection.rows = integers(second.Get("rows"), "reflection.rows");
    if (!(walk.reflection.alpha >= 0 && walk.reflection.alpha <= 1))
      throw Error("INTERNAL", "verify: alpha is not from 0 to 1");
  }
  if (given.Get("judge").IsObject()) {
    const Napi::Object head = given.Get("judge").As<Napi::Object>();
    walk.judge = read_judge(head);
    walk.judge.guarded = integers(head.Get("guarded"), "judge.guarded");
  }
  if (given.Get("masks").IsArray()) {
    const Napi::Array masks = given.Get("masks").As<Napi::Array>();
    for (uint32_t i = 0; i < masks.Length(); ++i) walk.masks.push_back(read_mask(masks.Get(i), *walk.sampler));
  }
  if (!proposal.IsObject()) return walk;
  Proposal* drafted = unwrap_proposal(proposal);
  if (drafted->place != place) drafted->bring();
  walk.proposal = drafted;
  return walk;
}

}  // namespace vivace
