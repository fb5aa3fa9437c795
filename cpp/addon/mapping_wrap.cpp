// class Mapping { constructor(path | bytes); size; read(offset, out); close() }
#include <algorithm>
#include <cstring>

#include "addon/wraps.h"

namespace vivace {

Napi::Function MappingWrap::define(Napi::Env env) {
  return DefineClass(env, "Mapping",
                     {InstanceAccessor<&MappingWrap::size>("size"), InstanceMethod<&MappingWrap::read>("read"),
                      InstanceMethod<&MappingWrap::close>("close")});
}

MappingWrap::MappingWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<MappingWrap>(info) {
  guarded(info.Env(), [&] {
    if (info[0].IsNumber())
      mapping = std::make_shared<Mapping>(std::max<int64_t>(1, info[0].As<Napi::Number>().Int64Value()));
    else
      mapping = std::make_shared<Mapping>(info[0].As<Napi::String>().Utf8Value());
  });
}

Napi::Value MappingWrap::size(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), mapping ? static_cast<double>(mapping->size()) : 0);
}

void MappingWrap::read(const Napi::CallbackInfo& info) {
  const int64_t offset = info[0].As<Napi::Number>().Int64Value();
  Napi::Uint8Array out = info[1].As<Napi::Uint8Array>();
  const int64_t bytes = static_cast<int64_t>(out.ByteLength());
  if (!mapping || offset < 0 || bytes > mapping->size() || offset > mapping->size() - bytes)
    throw to_napi(info.Env(), "FORMAT_TRUNCATED", "A tensor lies beyond the end of its file", "Download it again.");
  std::memcpy(out.Data(), mapping->data() + offset, static_cast<size_t>(bytes));
}

void MappingWrap::close(const Napi::CallbackInfo&) {
  mapping.reset();
}

}  // namespace vivace
