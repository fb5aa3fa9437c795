// Native errors become JavaScript errors with `code` and `remedy`; lib/native.ts makes VivaceErrors of them.
#pragma once
#include <napi.h>

#include <new>

#include "core/error.h"
#include "core/isa.h"

namespace vivace {

inline Napi::Error to_napi(Napi::Env env, const char* code, const char* message, const char* remedy) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Value().Set("code", Napi::String::New(env, code));
  if (*remedy != '\0') error.Value().Set("remedy", Napi::String::New(env, remedy));
  return error;
}

// Runs a body that may throw native errors inside a synchronous call from JavaScript.
template <class Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Error& error) {
    throw to_napi(env, error.code().c_str(), error.what(), error.remedy().c_str());
  } catch (const std::bad_alloc&) {
    throw to_napi(env, "OUT_OF_MEMORY", "The system has no memory left for this operation", "Close other programs.");
  }
}

// The level of this name, which this processor must be able to run.
inline Isa isa_named(Napi::Env env, const std::string& name) {
  for (int level = 0; level < isa_count; ++level) {
    if (name != isa_name(static_cast<Isa>(level))) continue;
    if (isa_supported(static_cast<Isa>(level))) return static_cast<Isa>(level);
    throw to_napi(env, "UNSUPPORTED_FEATURE", ("This processor cannot run " + name + " kernels").c_str(), "");
  }
  throw to_napi(env, "INVALID_ARGUMENT", ("There is no instruction-set level " + name).c_str(), "");
}

}  // namespace vivace
