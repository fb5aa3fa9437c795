// The native objects that JavaScript holds. Each owns its state through a shared pointer, so that dispose() takes
// effect at once for the caller while a run in flight keeps what it needs.
#pragma once
#include <napi.h>

#include <memory>

#include "addon/error_wrap.h"
#include "caches/paged_kv.h"
#include "core/memory/mapping.h"

namespace vivace {

// Per environment (main thread, each worker thread): the classes, for type checks. No other JavaScript state exists.
struct AddonData {
  Napi::FunctionReference mapping, kv_cache, executable;
};

class MappingWrap : public Napi::ObjectWrap<MappingWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit MappingWrap(const Napi::CallbackInfo& info);
  std::shared_ptr<Mapping> mapping;

 private:
  Napi::Value size(const Napi::CallbackInfo& info);
  void read(const Napi::CallbackInfo& info);
  void copy_from(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
};

class KvCacheWrap : public Napi::ObjectWrap<KvCacheWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit KvCacheWrap(const Napi::CallbackInfo& info);
  std::shared_ptr<PagedKv> kv;

 private:
  PagedKv& alive(Napi::Env env);
  Napi::Value create(const Napi::CallbackInfo& info);
  Napi::Value fork(const Napi::CallbackInfo& info);
  void release(const Napi::CallbackInfo& info);
  Napi::Value length(const Napi::CallbackInfo& info);
  void truncate(const Napi::CallbackInfo& info);
  void commit(const Napi::CallbackInfo& info);
  void keep(const Napi::CallbackInfo& info);
  void read_cells(const Napi::CallbackInfo& info);
  void write_cells(const Napi::CallbackInfo& info);
  Napi::Value saved(const Napi::CallbackInfo& info);
  void read_page(const Napi::CallbackInfo& info);
  Napi::Value restore(const Napi::CallbackInfo& info);
  void write_page(const Napi::CallbackInfo& info);
  Napi::Value cells(const Napi::CallbackInfo& info);
  Napi::Value voters(const Napi::CallbackInfo& info);
  void compact(const Napi::CallbackInfo& info);
  Napi::Value share(const Napi::CallbackInfo& info);
  void publish(const Napi::CallbackInfo& info);
  void withhold(const Napi::CallbackInfo& info);
  void keep_idle(const Napi::CallbackInfo& info);
  Napi::Value drop_idle(const Napi::CallbackInfo& info);
  void forget(const Napi::CallbackInfo& info);
  Napi::Value sizes(const Napi::CallbackInfo& info);
  Napi::Value offloaded(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
};

struct ExecutableState;

class ExecutableWrap : public Napi::ObjectWrap<ExecutableWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ExecutableWrap(const Napi::CallbackInfo& info);
  // Throws DISPOSED.
  std::shared_ptr<ExecutableState> shared(Napi::Env env) {
    alive(env);
    return state_;
  }

 private:
  ExecutableState& alive(Napi::Env env);
  Napi::Value run(const Napi::CallbackInfo& info);
  void run_sync(const Napi::CallbackInfo& info);
  Napi::Value sizes(const Napi::CallbackInfo& info);
  Napi::Value profile(const Napi::CallbackInfo& info);
  Napi::Value routing(const Napi::CallbackInfo& info);
  Napi::Value experts(const Napi::CallbackInfo& info);
  Napi::Value pack(const Napi::CallbackInfo& info);
  void pack_sync(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  std::shared_ptr<ExecutableState> state_;
};

struct BatchRequest;
// Pairs of sequences whose prompts are compressed and rows that vote; undefined: none.
void read_compression(const Napi::Value& given, BatchRequest& request);

// The wrap behind a JavaScript object, or a thrown error when it is of another class.
template <class Wrap>
Wrap* unwrap(Napi::Env env, Napi::Value value, Napi::FunctionReference AddonData::*type, const char* name) {
  AddonData* data = env.GetInstanceData<AddonData>();
  if (!value.IsObject() || !value.As<Napi::Object>().InstanceOf((data->*type).Value()))
    throw to_napi(env, "INTERNAL", (std::string("expected a ") + name).c_str(), "");
  return Napi::ObjectWrap<Wrap>::Unwrap(value.As<Napi::Object>());
}

}  // namespace vivace
