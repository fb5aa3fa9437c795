#include "addon/decode/sampler_wrap.h"

#include "addon/error_wrap.h"

namespace vivace {
namespace {

constexpr napi_type_tag sampler_tag = {0x5c6ff0a1be0f4d5eULL, 0x9d1f3fb2c0a84c77ULL};

double number(const Napi::Object& options, const char* name) {
  return options.Get(name).ToNumber().DoubleValue();
}

SamplerOptions read_options(const Napi::Object& given) {
  const Napi::Env env = given.Env();
  SamplerOptions options;
  options.temperature = number(given, "temperature");
  options.top_k = static_cast<int64_t>(number(given, "topK"));
  options.top_p = number(given, "topP");
  options.min_p = number(given, "minP");
  options.typical_p = number(given, "typicalP");
  options.repetition_penalty = number(given, "repetitionPenalty");
  options.presence_penalty = number(given, "presencePenalty");
  options.frequency_penalty = number(given, "frequencyPenalty");
  options.logprob = given.Get("logprob").ToBoolean().Value();
  options.top_logprobs = static_cast<int32_t>(number(given, "topLogprobs"));
  options.vocab = static_cast<int64_t>(number(given, "vocab"));
  const Napi::Value seed = given.Get("seed");
  if (!seed.IsBigInt()) throw to_napi(env, "INVALID_ARGUMENT", "Expected a bigint for `seed`", "");
  bool lossless = false;
  options.seed = seed.As<Napi::BigInt>().Uint64Value(&lossless);
  if (options.vocab < 1 || options.vocab > 0x7FFFFFFF || options.top_logprobs < 0) {
    throw to_napi(env, "INVALID_ARGUMENT", "Expected a positive `vocab` and `topLogprobs` of at least 0", "");
  }
  const Napi::Object bias = given.Get("logitBias").ToObject();  // a Map: forEach(value, key)
  bias.Get("forEach").As<Napi::Function>().Call(
      bias, {Napi::Function::New(env, [&options](const Napi::CallbackInfo& info) {
        options.logit_bias.emplace_back(info[1].ToNumber().Int32Value(), info[0].ToNumber().FloatValue());
      })});
  return options;
}

class SamplerWrap : public Napi::ObjectWrap<SamplerWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "Sampler",
        {InstanceMethod<&SamplerWrap::accept>("accept"), InstanceMethod<&SamplerWrap::retract>("retract"),
         InstanceMethod<&SamplerWrap::sample>("sample"), InstanceMethod<&SamplerWrap::dispose>("dispose")});
  }

  explicit SamplerWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SamplerWrap>(info), sampler(make(info)) {
    info.This().As<Napi::Object>().TypeTag(&sampler_tag);
  }

  Sampler sampler;

 private:
  static SamplerOptions make(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return read_options(info[0].ToObject()); });
  }

  void accept(const Napi::CallbackInfo& info) {
    const Napi::Int32Array tokens = read_tokens(info);
    guarded(info.Env(), [&] { sampler.accept(tokens.Data(), static_cast<int64_t>(tokens.ElementLength())); });
  }

  void retract(const Napi::CallbackInfo& info) {
    const Napi::Int32Array tokens = read_tokens(info);
    guarded(info.Env(), [&] { sampler.retract(tokens.Data(), static_cast<int64_t>(tokens.ElementLength())); });
  }

  static Napi::Int32Array read_tokens(const Napi::CallbackInfo& info) {
    if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
      throw to_napi(info.Env(), "INVALID_ARGUMENT", "Expected an Int32Array for `tokens`", "");
    }
    return info[0].As<Napi::Int32Array>();
  }

  Napi::Value sample(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
      throw to_napi(env, "INVALID_ARGUMENT", "Expected a Float32Array for `logits`", "");
    }
    Napi::Float32Array logits = info[0].As<Napi::Float32Array>();
    SampleResult drawn;
    sampler.sample(logits.Data(), static_cast<int64_t>(logits.ElementLength()), drawn);
    if (drawn.error != SampleError::none) {
      const bool disposed = drawn.error == SampleError::disposed;
      throw to_napi(env, disposed ? "DISPOSED" : "NUMERIC", describe(drawn.error), "");
    }
    Napi::Array top = Napi::Array::New(env, static_cast<size_t>(drawn.top_count));
    for (int32_t i = 0; i < drawn.top_count; ++i) {
      Napi::Array pair = Napi::Array::New(env, 2);
      pair.Set(0u, drawn.top[i].token);
      pair.Set(1u, drawn.top[i].logprob);
      top.Set(static_cast<uint32_t>(i), pair);
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("token", drawn.token);
    result.Set("logprob", drawn.logprob);
    result.Set("top", top);
    return result;
  }

  void dispose(const Napi::CallbackInfo&) { sampler.release(); }
};

}  // namespace

void init_sampler(Napi::Env env, Napi::Object exports) {
  exports.Set("Sampler", SamplerWrap::define(env));
}

Sampler* unwrap_sampler(Napi::Value value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&sampler_tag)) {
    throw to_napi(value.Env(), "INTERNAL", "expected a Sampler", "");
  }
  return &SamplerWrap::Unwrap(value.As<Napi::Object>())->sampler;
}

}  // namespace vivace
