#include "addon/weights/distil_wrap.h"

#include <string>
#include <vector>

#include "addon/decode/watch_worker.h"
#include "decode/draft/adapt/distil.h"

namespace vivace {
namespace {

template <class Array>
Array typed(const Napi::Object& given, const char* name, napi_typedarray_type type, int64_t size = -1) {
  const Napi::Value value = given.Get(name);
  const bool right = value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
  if (!right || (size >= 0 && static_cast<int64_t>(value.As<Napi::TypedArray>().ElementLength()) != size))
    throw Error("INVALID_ARGUMENT", std::string("distil: `") + name + "` is no array of the right type and length");
  return value.As<Array>();
}

double number(const Napi::Object& given, const char* name) {
  return given.Get(name).ToNumber().DoubleValue();
}

// What a step reads and writes; the arrays are JavaScript's, which does not touch them until the promise resolves.
struct Step {
  DistilBatch batch;
  AdamW how;
  float *a, *b, *moments_a, *moments_b, *losses;
};

Step step_of(const Napi::Object& given) {
  const auto size = [&](const char* name) {
    const double value = number(given, name);
    if (!(value >= 1 && value <= 1e9))
      throw Error("INVALID_ARGUMENT", std::string("distil: `") + name + "` is no size");
    return static_cast<int64_t>(value);
  };
  const auto floats = [&](const char* name, int64_t count) {
    return typed<Napi::Float32Array>(given, name, napi_float32_array, count).Data();
  };
  const auto integers = [&](const char* name, int64_t count) {
    return typed<Napi::Int32Array>(given, name, napi_int32_array, count).Data();
  };
  const int64_t rows = size("rows"), width = size("width"), vocab = size("vocab"), rank = size("rank");
  Step step{};
  DistilBatch& batch = step.batch;
  batch.rows = rows, batch.width = width, batch.vocab = vocab, batch.rank = rank;
  batch.hidden = floats("hidden", rows * width);
  batch.logits = floats("logits", rows * vocab);
  batch.mapped = typed<Napi::Uint8Array>(given, "mapped", napi_uint8_array, vocab).Data();
  batch.starts = integers("starts", rows + 1);
  const auto ids = typed<Napi::Int32Array>(given, "ids", napi_int32_array);
  batch.ids = ids.Data();
  batch.laws = floats("laws", static_cast<int64_t>(ids.ElementLength()));
  batch.labels = integers("labels", rows);
  batch.weights = floats("weights", rows);
  const double loss = number(given, "loss");
  if (loss != 0 && loss != 1 && loss != 2) throw Error("INVALID_ARGUMENT", "distil: there is no such `loss`");
  batch.loss = static_cast<DistilLoss>(static_cast<int>(loss));
  batch.lambda = number(given, "lambda");
  bool sound = batch.starts[0] == 0 && batch.starts[rows] == static_cast<int64_t>(ids.ElementLength());
  for (int64_t row = 0; sound && row < rows; ++row)
    sound = batch.starts[row] <= batch.starts[row + 1] && batch.labels[row] >= -1 && batch.labels[row] < vocab;
  for (int32_t i = 0; sound && i < batch.starts[rows]; ++i)
    sound = batch.ids[i] >= 0 && batch.ids[i] < vocab && batch.mapped[batch.ids[i]] != 0;
  if (!sound) throw Error("INVALID_ARGUMENT", "distil: `starts`, `ids` or `labels` point beyond their ends");
  step.how = {static_cast<int64_t>(number(given, "step")),
              number(given, "rate"),
              number(given, "beta1"),
              number(given, "beta2"),
              number(given, "epsilon"),
              number(given, "decay"),
              number(given, "clip")};
  step.a = floats("a", rank * width);
  step.b = floats("b", vocab * rank);
  step.moments_a = floats("momentsA", 2 * rank * width);
  step.moments_b = floats("momentsB", 2 * vocab * rank);
  step.losses = floats("losses", 3);
  return step;
}

// distil(step, state): Promise; `losses` gets the two means and the gradient's norm. state[1]: not 0 gives up.
Napi::Value distil_async(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto given = info[0].As<Napi::Object>();
    const Step step = step_of(given);
    const auto kept = std::make_shared<Napi::ObjectReference>(Napi::Persistent(given));
    if (!info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
      throw Error("INVALID_ARGUMENT", "Expected an Int32Array for `state`");
    return watched(info.Env(), info[1].As<Napi::Int32Array>(), [step, kept](const Watch& watch) {
      const DistilLosses found =
          distil(step.batch, step.how, step.a, step.b, step.moments_a, step.moments_b, [&watch] { watch.check(); });
      step.losses[0] = static_cast<float>(found.law);
      step.losses[1] = static_cast<float>(found.label);
      step.losses[2] = static_cast<float>(found.norm);
    });
  });
}

// distilGradient(step, a, b): the gradients instead, at once; for tests.
void distil_gradient_sync(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const auto given = info[0].As<Napi::Object>();
    const Step step = step_of(given);
    std::vector<float> ga, gb;
    const DistilLosses found = distil_gradient(step.batch, step.a, step.b, ga, gb, [] {});
    auto out_a = typed<Napi::Float32Array>(given, "gradientA", napi_float32_array, static_cast<int64_t>(ga.size()));
    auto out_b = typed<Napi::Float32Array>(given, "gradientB", napi_float32_array, static_cast<int64_t>(gb.size()));
    std::copy(ga.begin(), ga.end(), out_a.Data());
    std::copy(gb.begin(), gb.end(), out_b.Data());
    step.losses[0] = static_cast<float>(found.law);
    step.losses[1] = static_cast<float>(found.label);
    step.losses[2] = static_cast<float>(found.norm);
  });
}

}  // namespace

void init_distil(Napi::Env env, Napi::Object exports) {
  exports.Set("distil", Napi::Function::New(env, distil_async));
  exports.Set("distilGradient", Napi::Function::New(env, distil_gradient_sync));
}

}  // namespace vivace
