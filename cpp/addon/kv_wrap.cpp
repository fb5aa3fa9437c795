// class KvCache: the paged cache, one method each; see cpp/caches/paged_kv.h.
#include "addon/device_wrap.h"
#include "addon/wraps.h"
#include "device/device_pages.h"
#include "offload/offloaded_layers.h"
#include "program/rounds/batch_storage.h"

namespace vivace {

Napi::Function KvCacheWrap::define(Napi::Env env) {
  return DefineClass(env, "KvCache",
                     {InstanceMethod<&KvCacheWrap::create>("create"),
                      InstanceMethod<&KvCacheWrap::fork>("fork"),
                      InstanceMethod<&KvCacheWrap::release>("release"),
                      InstanceMethod<&KvCacheWrap::length>("length"),
                      InstanceMethod<&KvCacheWrap::truncate>("truncate"),
                      InstanceMethod<&KvCacheWrap::commit>("commit"),
                      InstanceMethod<&KvCacheWrap::keep>("keep"),
                      InstanceMethod<&KvCacheWrap::read_cells>("readCells"),
                      InstanceMethod<&KvCacheWrap::write_cells>("writeCells"),
                      InstanceMethod<&KvCacheWrap::saved>("saved"),
                      InstanceMethod<&KvCacheWrap::read_page>("readPage"),
                      InstanceMethod<&KvCacheWrap::restore>("restore"),
                      InstanceMethod<&KvCacheWrap::write_page>("writePage"),
                      InstanceMethod<&KvCacheWrap::share>("share"),
                      InstanceMethod<&KvCacheWrap::publish>("publish"),
                      InstanceMethod<&KvCacheWrap::withhold>("withhold"),
                      InstanceMethod<&KvCacheWrap::keep_idle>("keepIdle"),
                      InstanceMethod<&KvCacheWrap::drop_idle>("dropIdle"),
                      InstanceMethod<&KvCacheWrap::cells>("cells"),
                      InstanceMethod<&KvCacheWrap::voters>("voters"),
                      InstanceMethod<&KvCacheWrap::compact>("compact"),
                      InstanceMethod<&KvCacheWrap::forget>("forget"),
                      InstanceMethod<&KvCacheWrap::sizes>("sizes"),
                      InstanceMethod<&KvCacheWrap::offloaded>("offloaded"),
                      InstanceMethod<&KvCacheWrap::close>("close")});
}

namespace {

// { channels, bits, sets, tokens, share, threshold, recent, sinks, grouped, table: Int32Array, sparse: Uint8Array }
LabelOptions read_labels(const Napi::Object& given) {
  LabelOptions labels;
  const auto number = [&](const char* name) { return given.Get(name).As<Napi::Number>().Int32Value(); };
  labels.channels = number("channels");
  labels.bits = number("bits");
  labels.sets = number("sets");
  labels.tokens = number("tokens");
  labels.share = number("share");
  labels.threshold = number("threshold");
  labels.recent = number("recent");
  labels.sinks = number("sinks");
  labels.grouped = given.Get("grouped").As<Napi::Boolean>();
  const Napi::Int32Array table = given.Get("table").As<Napi::Int32Array>();
  labels.table.assign(table.Data(), table.Data() + table.ElementLength());
  const Napi::Uint8Array sparse = given.Get("sparse").As<Napi::Uint8Array>();
  labels.sparse.assign(sparse.Data(), sparse.Data() + sparse.ElementLength());
  return labels;
}

SnapOptions read_snap(const Napi::Object& given) {
  const auto number = [&](const char* name) { return given.Get(name).As<Napi::Number>().Int32Value(); };
  SnapOptions snap;
  snap.budget = number("budget");
  snap.window = number("window");
  snap.kernel = number("kernel");
  snap.pooling = static_cast<SnapPooling>(number("pooling"));
  snap.aggregation = static_cast<SnapAggregation>(number("aggregation"));
  snap.keep_first = number("keepFirst");
  snap.least = number("minPromptTokens");
  snap.group = number("group");
  if (snap.window < 1 || snap.budget <= snap.window || snap.kernel < 1 || snap.kernel % 2 == 0 || snap.group < 1 ||
      snap.least < snap.budget || snap.keep_first < 0 || snap.keep_first > snap.budget - snap.window)
    throw Error("INVALID_ARGUMENT", "KV cache: options of prompt compression are out of range");
  return snap;
}

CachePolicy read_policy(const Napi::Value& value) {
  CachePolicy policy;
  if (value.IsUndefined()) return policy;
  const Napi::Object given = value.As<Napi::Object>();
  const Napi::Int32Array patterns = given.Get("patterns").As<Napi::Int32Array>();
  for (size_t i = 0; i + 9 <= patterns.ElementLength(); i += 9)
    policy.layers.push_back({patterns[i], patterns[i + 1], patterns[i + 2], patterns[i + 3], patterns[i + 4],
                             patterns[i + 5], patterns[i + 6], patterns[i + 7], patterns[i + 8] != 0});
  if (!given.Get("labels").IsUndefined()) policy.labels = read_labels(given.Get("labels").As<Napi::Object>());
  if (given.Get("snap").IsObject()) policy.snap = read_snap(given.Get("snap").As<Napi::Object>());
  if (given.Get("rotation").IsUndefined()) return policy;
  const Napi::Object rotation = given.Get("rotation").As<Napi::Object>();
  policy.rotation.ceiling = rotation.Get("ceiling").As<Napi::Boolean>();
  policy.rotation.limit = rotation.Get("limit").As<Napi::Number>().Int32Value();
  const Napi::Array tables = rotation.Get("tables").As<Napi::Array>();
  for (uint32_t i = 0; i < tables.Length(); ++i) {
    const Napi::Float64Array table = tables.Get(i).As<Napi::Float64Array>();
    policy.rotation.tables.emplace_back(table.Data(), table.Data() + table.ElementLength());
  }
  const Napi::Int32Array layers = rotation.Get("layers").As<Napi::Int32Array>();
  policy.rotation.layers.assign(layers.Data(), layers.Data() + layers.ElementLength());
  return policy;
}

// { memory, folder, ahead, threads, bytesPerSecond?, delayUs?, seed? }
OffloadOptions read_offload(const Napi::Value& value) {
  OffloadOptions offload;
  if (value.IsUndefined()) return offload;
  const Napi::Object given = value.As<Napi::Object>();
  const auto number = [&](const char* name) {
    return given.Get(name).IsUndefined() ? 0.0 : given.Get(name).As<Napi::Number>().DoubleValue();
  };
  offload.memory = static_cast<int64_t>(number("memory"));
  offload.folder = given.Get("folder").As<Napi::String>();
  offload.ahead = given.Get("ahead").As<Napi::Boolean>();
  offload.threads = static_cast<int>(number("threads"));
  offload.bytes_per_second = number("bytesPerSecond");
  offload.delay_us = static_cast<int64_t>(number("delayUs"));
  offload.seed = static_cast<uint64_t>(number("seed"));
  return offload;
}

}  // namespace

void read_compression(const Napi::Value& given, BatchRequest& request) {
  if (!given.IsTypedArray()) return;
  const Napi::Int32Array pairs = given.As<Napi::Int32Array>();
  request.compress = pairs.Data();
  request.compressed = static_cast<int64_t>(pairs.ElementLength() / 2);
}

KvCacheWrap::KvCacheWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<KvCacheWrap>(info) {
  const Napi::Object given = info[0].As<Napi::Object>();
  const auto number = [&](const char* name) { return given.Get(name).As<Napi::Number>().Int32Value(); };
  guarded(info.Env(), [&] {
    PagedKvOptions options;
    options.layers = number("layers");
    options.kv_heads = number("kvHeads");
    options.key_dim = number("keyDim");
    options.value_dim = number("valueDim");
    options.page_size = number("pageSize");
    options.key_dtype = static_cast<DType>(number("keyType"));
    options.value_dtype = static_cast<DType>(number("valueType"));
    options.max_pages = number("maxPages");
    if (!given.Get("hashBits").IsUndefined()) options.hash_bits = number("hashBits");
    options.policy = read_policy(given.Get("policy"));
    options.offload = read_offload(given.Get("offload"));
    options.poison = given.Get("poison").ToBoolean();
    int device = 0;
    const auto library = read_device(given.Get("device"), device);
    kv = std::make_shared<PagedKv>(options, library ? device_pages(library, device) : host_pages());
  });
}

PagedKv& KvCacheWrap::alive(Napi::Env env) {
  if (!kv) throw to_napi(env, "DISPOSED", "The KV cache was disposed", "");
  return *kv;
}

namespace {
int integer(const Napi::CallbackInfo& info, size_t index) {
  return info[index].As<Napi::Number>().Int32Value();
}
}  // namespace

Napi::Value KvCacheWrap::create(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), alive(info.Env()).create()); });
}
Napi::Value KvCacheWrap::fork(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), alive(info.Env()).fork(integer(info, 0))); });
}
void KvCacheWrap::release(const Napi::CallbackInfo& info) {
  if (kv) guarded(info.Env(), [&] { kv->release(integer(info, 0)); });
}
Napi::Value KvCacheWrap::length(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), alive(info.Env()).length(integer(info, 0))); });
}
void KvCacheWrap::truncate(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { alive(info.Env()).truncate(integer(info, 0), integer(info, 1)); });
}
void KvCacheWrap::commit(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { alive(info.Env()).commit(integer(info, 0), integer(info, 1)); });
}
void KvCacheWrap::keep(const Napi::CallbackInfo& info) {
  const Napi::Int32Array kept = info[1].As<Napi::Int32Array>();
  guarded(info.Env(),
          [&] { alive(info.Env()).keep(integer(info, 0), kept.Data(), static_cast<int>(kept.ElementLength())); });
}

void KvCacheWrap::read_cells(const Napi::CallbackInfo& info) {
  Napi::Uint8Array out = info[3].As<Napi::Uint8Array>();
  guarded(info.Env(), [&] {
    PagedKv& cache = alive(info.Env());
    const int begin = integer(info, 1), count = integer(info, 2);
    if (count < 0 || static_cast<int64_t>(out.ByteLength()) != cache.cell_bytes() * count)
      throw Error("INTERNAL", "readCells: the buffer has the wrong size");
    cache.read_cells(integer(info, 0), begin, count, reinterpret_cast<std::byte*>(out.Data()));
  });
}
void KvCacheWrap::write_cells(const Napi::CallbackInfo& info) {
  const Napi::Uint8Array in = info[2].As<Napi::Uint8Array>();
  guarded(info.Env(), [&] {
    PagedKv& cache = alive(info.Env());
    const int sequence = integer(info, 0), count = integer(info, 1);
    if (count < 0 || static_cast<int64_t>(in.ByteLength()) != cache.cell_bytes() * count)
      throw Error("INTERNAL", "writeCells: the buffer has the wrong size");
    cache.write_cells(sequence, cache.cells(sequence), count, reinterpret_cast<const std::byte*>(in.Data()));
  });
}

// { state: [cells, shift, fixed, horizon], pages: Int32Array of groups and pages in turns, bytes: [groups] }
Napi::Value KvCacheWrap::saved(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const PagedKv& cache = alive(env);
    const int sequence = integer(info, 0);
    const PagedKv::Saved state = cache.saved(sequence);
    const std::vector<PagedKv::SavedPage> pages = cache.saved_pages(sequence);
    Napi::Float64Array numbers = Napi::Float64Array::New(env, 4);
    numbers[0] = state.cells;
    numbers[1] = state.shift;
    numbers[2] = state.fixed;
    numbers[3] = static_cast<double>(state.horizon);
    Napi::Int32Array list = Napi::Int32Array::New(env, 2 * pages.size());
    for (size_t i = 0; i < pages.size(); ++i) {
      list[2 * i] = pages[i].group;
      list[2 * i + 1] = static_cast<int32_t>(pages[i].page);
    }
    Napi::Float64Array bytes = Napi::Float64Array::New(env, cache.groups().size());
    for (size_t group = 0; group < cache.groups().size(); ++group)
      bytes[group] = static_cast<double>(cache.group_bytes(static_cast<int>(group)));
    Napi::Object saved = Napi::Object::New(env);
    saved.Set("state", numbers);
    saved.Set("pages", list);
    saved.Set("bytes", bytes);
    return saved;
  });
}

namespace {
// A page by its group and number; throws INTERNAL where the buffer is not as long as it is.
PagedKv::SavedPage page_of(const Napi::CallbackInfo& info, const PagedKv& cache, size_t bytes) {
  const int group = integer(info, 1);
  if (group < 0 || group >= static_cast<int>(cache.groups().size()) ||
      static_cast<int64_t>(bytes) != cache.group_bytes(group))
    throw Error("INTERNAL", "KV cache: the buffer of a page has the wrong size");
  return {group, integer(info, 2)};
}
}  // namespace

void KvCacheWrap::read_page(const Napi::CallbackInfo& info) {
  Napi::Uint8Array out = info[3].As<Napi::Uint8Array>();
  guarded(info.Env(), [&] {
    PagedKv& cache = alive(info.Env());
    cache.read_page(integer(info, 0), page_of(info, cache, out.ByteLength()), reinterpret_cast<std::byte*>(out.Data()));
  });
}
Napi::Value KvCacheWrap::restore(const Napi::CallbackInfo& info) {
  const Napi::Float64Array state = info[0].As<Napi::Float64Array>();
  return guarded(info.Env(), [&] {
    if (state.ElementLength() != 4) throw Error("INVALID_ARGUMENT", "KV cache: a state is four numbers");
    for (size_t i = 0; i < 4; ++i)
      if (!(state[i] >= 0 && state[i] <= 1 << 30))
        throw Error("INVALID_ARGUMENT", "KV cache: no sequence of this cache is like that");
    const PagedKv::Saved saved{static_cast<int>(state[0]), static_cast<int>(state[1]), static_cast<int>(state[2]),
                               static_cast<int64_t>(state[3])};
    return Napi::Number::New(info.Env(), alive(info.Env()).restore(saved));
  });
}
void KvCacheWrap::write_page(const Napi::CallbackInfo& info) {
  const Napi::Uint8Array in = info[3].As<Napi::Uint8Array>();
  guarded(info.Env(), [&] {
    PagedKv& cache = alive(info.Env());
    cache.write_page(integer(info, 0), page_of(info, cache, in.ByteLength()),
                     reinterpret_cast<const std::byte*>(in.Data()));
  });
}

Napi::Value KvCacheWrap::cells(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), alive(info.Env()).cells(integer(info, 0))); });
}
Napi::Value KvCacheWrap::voters(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Napi::Number::New(info.Env(), alive(info.Env()).voters(integer(info, 0), integer(info, 1)));
  });
}
void KvCacheWrap::compact(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { alive(info.Env()).compact(integer(info, 0)); });
}

Napi::Value KvCacheWrap::share(const Napi::CallbackInfo& info) {
  const Napi::Int32Array tokens = info[1].As<Napi::Int32Array>();
  return guarded(info.Env(), [&] {
    const int count = static_cast<int>(tokens.ElementLength());
    const std::string salt = info[2].As<Napi::String>();
    return Napi::Number::New(info.Env(), alive(info.Env()).share(integer(info, 0), tokens.Data(), count, salt));
  });
}
void KvCacheWrap::publish(const Napi::CallbackInfo& info) {
  const Napi::Int32Array tokens = info[1].As<Napi::Int32Array>();
  guarded(info.Env(), [&] {
    const int count = static_cast<int>(tokens.ElementLength());
    const std::string salt = info[2].As<Napi::String>();
    alive(info.Env()).publish(integer(info, 0), tokens.Data(), count, salt);
  });
}
void KvCacheWrap::withhold(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { alive(info.Env()).withhold(integer(info, 0), integer(info, 1)); });
}
void KvCacheWrap::keep_idle(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { alive(info.Env()).keep_idle(integer(info, 0)); });
}
Napi::Value KvCacheWrap::drop_idle(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), alive(info.Env()).drop_idle()); });
}
void KvCacheWrap::forget(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { alive(info.Env()).forget(); });
}

// { pageBytes, pagesUsed, usedBytes, peakBytes, byLayer, pagesIdle, pagesPublished, evictions, cellBytes }
Napi::Value KvCacheWrap::sizes(const Napi::CallbackInfo& info) {
  Napi::Object sizes = Napi::Object::New(info.Env());
  sizes.Set("pageBytes", kv ? static_cast<double>(kv->page_bytes()) : 0);
  sizes.Set("pagesUsed", kv ? static_cast<double>(kv->pages_used()) : 0);
  sizes.Set("usedBytes", kv ? static_cast<double>(kv->used_bytes()) : 0);
  sizes.Set("peakBytes", kv ? static_cast<double>(kv->peak_bytes()) : 0);
  sizes.Set("byLayer", kv && kv->by_layer());
  sizes.Set("pagesIdle", kv ? static_cast<double>(kv->pages_idle()) : 0);
  sizes.Set("pagesPublished", kv ? static_cast<double>(kv->pages_published()) : 0);
  sizes.Set("evictions", kv ? static_cast<double>(kv->evictions()) : 0);
  sizes.Set("cellBytes", kv ? static_cast<double>(kv->cell_bytes()) : 0);
  return sizes;
}

// What offloaded layers did so far, by the names of OffloadStatistics, or undefined.
Napi::Value KvCacheWrap::offloaded(const Napi::CallbackInfo& info) {
  if (!kv || kv->offloaded() == nullptr) return info.Env().Undefined();
  const OffloadStatistics all = kv->offloaded()->statistics();
  Napi::Object told = Napi::Object::New(info.Env());
  const auto set = [&](const char* name, auto value) { told.Set(name, static_cast<double>(value)); };
  set("resident", all.resident);
  set("kept", all.kept);
  set("foreseen", all.foreseen);
  set("missed", all.missed);
  set("guessedOf", all.guessed_of);
  set("guessed", all.guessed);
  set("vain", all.vain);
  set("bytesRead", all.bytes_read);
  set("bytesWritten", all.bytes_written);
  set("partsRead", all.parts_read);
  set("partsWritten", all.parts_written);
  set("stallSeconds", all.stall_seconds);
  return told;
}

void KvCacheWrap::close(const Napi::CallbackInfo&) {
  kv.reset();
}

}  // namespace vivace
