// class Mapping { constructor(path | bytes); size; read(offset, out); copyFrom(mapping, offset, to, bytes); close() }
#include <algorithm>
#include <cstring>

#include "addon/wraps.h"
#include "core/memory/system.h"

namespace vivace {

Napi::Function MappingWrap::define(Napi::Env env) {
  return DefineClass(
      env, "Mapping",
      {InstanceAccessor<&MappingWrap::size>("size"), InstanceMethod<&MappingWrap::read>("read"),
       InstanceMethod<&MappingWrap::copy_from>("copyFrom"), InstanceMethod<&MappingWrap::close>("close")});
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

void MappingWrap::copy_from(const Napi::CallbackInfo& info) {
  const MappingWrap* source = Napi::ObjectWrap<MappingWrap>::Unwrap(info[0].As<Napi::Object>());
  const int64_t from = info[1].As<Napi::Number>().Int64Value(), to = info[2].As<Napi::Number>().Int64Value();
  const int64_t bytes = info[3].As<Napi::Number>().Int64Value();
  const auto holds = [&](const std::shared_ptr<Mapping>& one, int64_t offset) {
    return one && offset >= 0 && bytes >= 0 && bytes <= one->size() && offset <= one->size() - bytes;
  };
  if (!holds(source->mapping, from))
    throw to_napi(info.Env(), "FORMAT_TRUNCATED", "A tensor lies beyond the end of its file", "Download it again.");
  if (!holds(mapping, to) || mapping->writable() == nullptr)
    throw to_napi(info.Env(), "INTERNAL", "Mapping.copyFrom: the target has no such memory", "");
  std::memcpy(mapping->writable() + to, source->mapping->data() + from, static_cast<size_t>(bytes));
  if (source->mapping->writable() == nullptr) release_file_pages(source->mapping->data() + from, bytes);
}

void MappingWrap::close(const Napi::CallbackInfo&) {
  mapping.reset();
}

}  // namespace vivace
