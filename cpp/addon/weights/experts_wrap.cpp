#include "addon/weights/experts_wrap.h"

#include "core/error.h"
#include "experts/expert_store.h"

namespace vivace {

std::shared_ptr<ExpertStore> read_experts(const Napi::Value& given) {
  if (!given.IsObject()) return nullptr;
  const Napi::Object object = given.As<Napi::Object>();
  const auto number = [&](const char* name) { return object.Get(name).As<Napi::Number>(); };
  ExpertStoreOptions options;
  const Napi::Array files = object.Get("files").As<Napi::Array>();
  for (uint32_t i = 0; i < files.Length(); ++i) options.files.push_back(files.Get(i).As<Napi::String>().Utf8Value());
  options.experts = number("experts").Int32Value();
  options.slots = number("slots").Int32Value();
  options.predicted_most = number("predictedMost").Int32Value();
  options.replacement = static_cast<Replacement>(number("replacement").Int32Value());
  options.predictor = static_cast<ExpertPredictor>(number("predictor").Int32Value());
  options.pipelined = object.Get("pipelined").ToBoolean().Value();
  options.readers = number("readers").Int32Value();
  options.chunk_bytes = number("chunkBytes").Int64Value();
  options.bytes_per_second = number("bytesPerSecond").DoubleValue();
  options.delay_us = number("delayUs").Int64Value();
  options.script_most = number("scriptMost").Int32Value();
  const Napi::Int32Array script = object.Get("script").As<Napi::Int32Array>();
  options.script.assign(script.Data(), script.Data() + script.ElementLength());
  const Napi::Int32Array capacities = object.Get("capacities").As<Napi::Int32Array>();
  const Napi::Float64Array bytes = object.Get("bytes").As<Napi::Float64Array>();
  const Napi::Float64Array places = object.Get("places").As<Napi::Float64Array>();
  const size_t layers = capacities.ElementLength();
  const auto matrices = 3 * static_cast<size_t>(options.experts > 0 ? options.experts : 0);
  if (options.experts < 1 || options.readers < 1 || options.readers > 64 || bytes.ElementLength() != 3 * layers ||
      places.ElementLength() != 2 * layers * matrices)
    throw Error("INTERNAL", "experts: the tables differ in length");
  for (size_t l = 0; l < layers; ++l) {
    StoredLayer layer;
    layer.capacity = capacities[l];
    for (size_t m = 0; m < 3; ++m) layer.bytes[m] = static_cast<int64_t>(bytes[3 * l + m]);
    for (size_t i = 0; i < matrices; ++i) {
      const size_t at = 2 * (l * matrices + i);
      layer.matrices.push_back({static_cast<int>(places[at]), static_cast<int64_t>(places[at + 1])});
    }
    options.layers.push_back(std::move(layer));
  }
  return std::make_shared<ExpertStore>(std::move(options));
}

Napi::Value report_experts(Napi::Env env, const ExpertStore* store) {
  if (store == nullptr) return env.Undefined();
  const StoreStatistics seen = store->statistics();
  Napi::Object report = Napi::Object::New(env);
  report.Set("slotBytes", static_cast<double>(store->bytes()));
  report.Set("runs", static_cast<double>(seen.runs));
  report.Set("copies", static_cast<double>(seen.copies));
  report.Set("bytes", static_cast<double>(seen.bytes));
  report.Set("dropped", static_cast<double>(seen.dropped));
  report.Set("stallSeconds", seen.stall_seconds);
  report.Set("linkSeconds", seen.link_seconds);
  report.Set("direct", seen.direct);
  Napi::Float64Array layers = Napi::Float64Array::New(env, 6 * seen.layers.size());
  for (size_t l = 0; l < seen.layers.size(); ++l) {
    const LayerStatistics& layer = seen.layers[l];
    size_t at = 6 * l;
    for (const int64_t count : {layer.needed, layer.hits, layer.predicted, layer.missed, layer.choices, layer.foreseen})
      layers[at++] = static_cast<double>(count);
  }
  report.Set("layers", layers);
  return report;
}

}  // namespace vivace
