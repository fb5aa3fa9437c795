// Node-API and nothing else: the exports of the addon. lib/native.ts declares the same, with types.
#include "addon/decode/datastore_builder_wrap.h"
#include "addon/decode/drafter_wrap.h"
#include "addon/decode/sampler_wrap.h"
#include "addon/decode/tree_wrap.h"
#include "addon/decode/verify_wrap.h"
#include "addon/device_wrap.h"
#include "addon/promise_worker.h"
#include "addon/tokenizer_wrap.h"
#include "addon/weights/checkpoint_wrap.h"
#include "addon/weights/distil_wrap.h"
#include "addon/weights/quant_wrap.h"
#include "addon/wraps.h"
#include "core/ceilings.h"
#include "program/op.h"

namespace vivace {
namespace {

// ceilings(threads, bytes, level): Promise<{ bytesPerSecond, floatOperations, int8Operations, regionSeconds }>
Napi::Value ceilings_async(const Napi::CallbackInfo& info) {
  class Worker final : public PromiseWorker {
   public:
    Worker(Napi::Env env, int threads, int64_t bytes, Isa isa)
        : PromiseWorker(env), threads_(threads), bytes_(bytes), isa_(isa) {}

   protected:
    void work() override { ceilings_ = measure_ceilings(threads_, bytes_, isa_); }
    Napi::Value result() override {
      Napi::Object out = Napi::Object::New(Env());
      out.Set("bytesPerSecond", ceilings_.bytes_per_second);
      out.Set("floatOperations", ceilings_.float_operations);
      out.Set("int8Operations", ceilings_.int8_operations);
      out.Set("regionSeconds", ceilings_.region_seconds);
      return out;
    }

   private:
    int threads_;
    int64_t bytes_;
    Isa isa_;
    Ceilings ceilings_{};
  };
  const int threads = info[0].As<Napi::Number>().Int32Value();
  if (threads < 1 || threads > 256) throw to_napi(info.Env(), "INVALID_ARGUMENT", "threads must be 1 to 256", "");
  const Isa isa = info[2].IsString() ? isa_named(info.Env(), info[2].As<Napi::String>().Utf8Value()) : best_isa();
  auto* worker = new Worker(info.Env(), threads, info[1].As<Napi::Number>().Int64Value(), isa);
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

// isaLevels(): the levels that this processor and build can run, best last
Napi::Value isa_levels(const Napi::CallbackInfo& info) {
  Napi::Array levels = Napi::Array::New(info.Env());
  uint32_t count = 0;
  for (int level = 0; level < isa_count; ++level)
    if (isa_supported(static_cast<Isa>(level))) levels.Set(count++, isa_name(static_cast<Isa>(level)));
  return levels;
}

// ops(): [{ name, attributes }] of this build, for the test that compares both tables
Napi::Value op_table(const Napi::CallbackInfo& info) {
  int count;
  const OpInfo* const* table = all_ops(count);
  Napi::Array list = Napi::Array::New(info.Env());
  for (int i = 0; i < count; ++i) {
    Napi::Object row = Napi::Object::New(info.Env());
    row.Set("name", table[i]->name);
    Napi::Array attributes = Napi::Array::New(info.Env());
    for (int k = 0; k < table[i]->attribute_count; ++k)
      attributes.Set(static_cast<uint32_t>(k), table[i]->attributes[k]);
    row.Set("attributes", attributes);
    list.Set(static_cast<uint32_t>(i), row);
  }
  return list;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* data = new AddonData();
  env.SetInstanceData(data);
  const auto add = [&](const char* name, Napi::Function type, Napi::FunctionReference& reference) {
    reference = Napi::Persistent(type);
    exports.Set(name, type);
  };
  add("Mapping", MappingWrap::define(env), data->mapping);
  add("KvCache", KvCacheWrap::define(env), data->kv_cache);
  add("Executable", ExecutableWrap::define(env), data->executable);
  init_checkpoint(env, exports);
  init_datastore_builder(env, exports);
  init_distil(env, exports);
  init_drafter(env, exports);
  init_quant(env, exports);
  init_sampler(env, exports);
  init_tokenizer(env, exports);
  init_trees(env, exports);
  init_verify(env, exports);
  exports.Set("devices", Napi::Function::New(env, list_devices));
  exports.Set("deviceKernels", Napi::Function::New(env, device_kernels));
  exports.Set("ceilings", Napi::Function::New(env, ceilings_async));
  exports.Set("isaLevels", Napi::Function::New(env, isa_levels));
  exports.Set("ops", Napi::Function::New(env, op_table));
  return exports;
}

}  // namespace
}  // namespace vivace

static Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  return vivace::init(env, exports);
}
NODE_API_MODULE(vivace, initialize)
