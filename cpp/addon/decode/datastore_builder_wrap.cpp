#include "addon/decode/datastore_builder_wrap.h"

#include <memory>

#include "addon/decode/watch_worker.h"
#include "decode/draft/datastore/datastore_builder.h"

namespace vivace {
namespace {

// new DatastoreBuilder(vocab, fingerprint); add(tokens); build(state): Promise; size; read(offset, out); dispose()
class DatastoreBuilderWrap : public Napi::ObjectWrap<DatastoreBuilderWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "DatastoreBuilder",
        {InstanceMethod<&DatastoreBuilderWrap::add>("add"), InstanceMethod<&DatastoreBuilderWrap::build>("build"),
         InstanceAccessor<&DatastoreBuilderWrap::size>("size"), InstanceMethod<&DatastoreBuilderWrap::read>("read"),
         InstanceMethod<&DatastoreBuilderWrap::dispose>("dispose")});
  }
  explicit DatastoreBuilderWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DatastoreBuilderWrap>(info) {
    guarded(info.Env(), [&] {
      bool lossless = false;
      if (!info[1].IsBigInt()) throw Error("INVALID_ARGUMENT", "Expected a bigint for `fingerprint`");
      builder_ = std::make_shared<DatastoreBuilder>(info[0].ToNumber().Int64Value(),
                                                    info[1].As<Napi::BigInt>().Uint64Value(&lossless));
    });
  }

 private:
  // Throws DISPOSED, and BUSY while it builds.
  DatastoreBuilder& alive() const {
    if (!builder_) throw Error("DISPOSED", "The builder was disposed");
    if (builder_.use_count() > 1) throw Error("BUSY", "The datastore is being built");
    return *builder_;
  }
  void add(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] {
      if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
        throw Error("INVALID_ARGUMENT", "Expected an Int32Array for `tokens`");
      const auto tokens = info[0].As<Napi::Int32Array>();
      alive().add(tokens.Data(), static_cast<int64_t>(tokens.ElementLength()));
    });
  }
  Napi::Value build(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      alive();
      if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
        throw Error("INVALID_ARGUMENT", "Expected an Int32Array for `state`");
      return watched(info.Env(), info[0].As<Napi::Int32Array>(),
                     [builder = builder_](const Watch& watch) { builder->build(watch); });
    });
  }
  Napi::Value size(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), static_cast<double>(alive().size())); });
  }
  void read(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] {
      auto out = info[1].As<Napi::Uint8Array>();
      alive().read(info[0].ToNumber().Int64Value(), static_cast<int64_t>(out.ByteLength()),
                   reinterpret_cast<std::byte*>(out.Data()));
    });
  }
  void dispose(const Napi::CallbackInfo&) { builder_.reset(); }

  std::shared_ptr<DatastoreBuilder> builder_;
};

}  // namespace

void init_datastore_builder(Napi::Env env, Napi::Object exports) {
  exports.Set("DatastoreBuilder", DatastoreBuilderWrap::define(env));
}

}  // namespace vivace
