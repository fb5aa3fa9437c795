#include "addon/device_wrap.h"

#include "addon/error_wrap.h"

namespace vivace {

std::shared_ptr<const DeviceLibrary> read_device(const Napi::Value& given, int& index) {
  index = 0;
  if (!given.IsObject()) return nullptr;
  const Napi::Object device = given.As<Napi::Object>();
  if (device.Get("index").IsNumber()) index = device.Get("index").As<Napi::Number>().Int32Value();
  return DeviceLibrary::open(device.Get("library").As<Napi::String>().Utf8Value());
}

// { build, devices: [{ name, capability, multiprocessors, memory, free, unusable? }] }
Napi::Value list_devices(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto library = DeviceLibrary::open(info[0].As<Napi::String>().Utf8Value());
    Napi::Array list = Napi::Array::New(info.Env());
    for (const VivaceDeviceInfo& device : library->devices()) {
      Napi::Object row = Napi::Object::New(info.Env());
      row.Set("name", device.name);
      row.Set("capability", std::to_string(device.major) + "." + std::to_string(device.minor));
      row.Set("multiprocessors", device.multiprocessors);
      row.Set("memory", static_cast<double>(device.memory));
      row.Set("free", static_cast<double>(device.memory_free));
      if (device.unusable[0] != '\0') row.Set("unusable", device.unusable);
      list.Set(list.Length(), row);
    }
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("build", library->table().build);
    out.Set("devices", list);
    return out;
  });
}

Napi::Value device_kernels(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto library = DeviceLibrary::open(info[0].As<Napi::String>().Utf8Value());
    return Napi::String::New(info.Env(), library->kernels());
  });
}

}  // namespace vivace
