#include "addon/decode/drafter_wrap.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "addon/decode/model_drafter_wrap.h"
#include "addon/decode/watch_worker.h"
#include "decode/draft/datastore/datastore_drafter.h"
#include "decode/draft/input_copy_drafter.h"
#include "decode/draft/n_gram/lookahead_drafter.h"
#include "decode/draft/n_gram/n_gram_drafter.h"
#include "decode/draft/suffix/suffix_drafter.h"

namespace vivace {
namespace {

constexpr napi_type_tag drafter_tag = {0x3a7f1d0be5c94a26ULL, 0x8b15c2d7f06e4b91ULL};
constexpr napi_type_tag cache_tag = {0x61d29c04b7fe4d13ULL, 0xa4c8830e5f1b4e72ULL};
constexpr napi_type_tag datastore_tag = {0x0f8ce6b1427a4905ULL, 0xb96d51a3c7e048f4ULL};
constexpr int most_drafted = 4096;

double number(const Napi::Object& options, const char* name, double least, double most) {
  const Napi::Value value = options.Get(name);
  const double given = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!(given >= least && given <= most))
    throw Error("INVALID_ARGUMENT", std::string("`") + name + "` is out of range");
  return given;
}
int integer(const Napi::Object& options, const char* name, int least, int most) {
  return static_cast<int>(number(options, name, least, most));
}

template <class Array>
Array typed(const Napi::Value& value, napi_typedarray_type type, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type)
    throw Error("INVALID_ARGUMENT", std::string("Expected a typed array of another kind for `") + name + "`");
  return value.As<Array>();
}
Napi::Int32Array integers(const Napi::Value& value, const char* name) {
  return typed<Napi::Int32Array>(value, napi_int32_array, name);
}

// The wrap behind an object with this tag.
template <class Wrap>
Wrap* tagged(const Napi::Value& value, const napi_type_tag& tag, const char* name) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&tag))
    throw Error("INTERNAL", std::string("expected a ") + name);
  return Napi::ObjectWrap<Wrap>::Unwrap(value.As<Napi::Object>());
}

// new SuffixCache({ depth, maxRequests, maxTokens }); add(tokens); sizes(); dispose()
class SuffixCacheWrap : public Napi::ObjectWrap<SuffixCacheWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "SuffixCache",
                       {InstanceMethod<&SuffixCacheWrap::add>("add"), InstanceMethod<&SuffixCacheWrap::sizes>("sizes"),
                        InstanceMethod<&SuffixCacheWrap::dispose>("dispose")});
  }
  explicit SuffixCacheWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SuffixCacheWrap>(info) {
    guarded(info.Env(), [&] {
      const Napi::Object given = info[0].ToObject();
      constexpr double most = 1e15;
      cache_ = std::make_shared<SuffixCache>(integer(given, "depth", 2, SuffixTrie::most_depth),
                                             static_cast<int64_t>(number(given, "maxRequests", 1, most)),
                                             static_cast<int64_t>(number(given, "maxTokens", 1, INT32_MAX)));
    });
    info.This().As<Napi::Object>().TypeTag(&cache_tag);
  }
  // Throws DISPOSED.
  const std::shared_ptr<SuffixCache>& alive() const {
    if (!cache_) throw Error("DISPOSED", "The suffix cache was disposed");
    return cache_;
  }

 private:
  void add(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] {
      const Napi::Int32Array tokens = integers(info[0], "tokens");
      alive()->add(tokens.Data(), static_cast<int64_t>(tokens.ElementLength()));
    });
  }
  Napi::Value sizes(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const SuffixCache::Sizes sizes = alive()->sizes();
      Napi::Object result = Napi::Object::New(info.Env());
      result.Set("requests", static_cast<double>(sizes.requests));
      result.Set("tokens", static_cast<double>(sizes.tokens));
      result.Set("nodes", static_cast<double>(sizes.nodes));
      result.Set("bytes", static_cast<double>(sizes.bytes));
      return result;
    });
  }
  void dispose(const Napi::CallbackInfo&) { cache_.reset(); }

  std::shared_ptr<SuffixCache> cache_;
};

// new Datastore(path); info(); verify(state): Promise; dispose()
class DatastoreWrap : public Napi::ObjectWrap<DatastoreWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Datastore",
                       {InstanceMethod<&DatastoreWrap::info>("info"), InstanceMethod<&DatastoreWrap::verify>("verify"),
                        InstanceMethod<&DatastoreWrap::dispose>("dispose")});
  }
  explicit DatastoreWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DatastoreWrap>(info) {
    guarded(info.Env(), [&] { datastore_ = std::make_shared<Datastore>(info[0].ToString().Utf8Value()); });
    info.This().As<Napi::Object>().TypeTag(&datastore_tag);
  }
  // Throws DISPOSED.
  const std::shared_ptr<Datastore>& alive() const {
    if (!datastore_) throw Error("DISPOSED", "The datastore was disposed");
    return datastore_;
  }

 private:
  Napi::Value info(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const DatastoreHeader& header = alive()->header();
      Napi::Object result = Napi::Object::New(info.Env());
      result.Set("vocab", static_cast<double>(header.vocab));
      result.Set("tokens", static_cast<double>(header.tokens - header.texts));
      result.Set("texts", static_cast<double>(header.texts));
      result.Set("bytes", static_cast<double>(DatastoreHeader::bytes + 8 * header.tokens));
      result.Set("fingerprint", Napi::BigInt::New(info.Env(), header.fingerprint));
      return result;
    });
  }
  Napi::Value verify(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      return watched(info.Env(), integers(info[0], "state"),
                     [datastore = alive()](const Watch& watch) { datastore->verify(watch); });
    });
  }
  void dispose(const Napi::CallbackInfo&) { datastore_.reset(); }

  std::shared_ptr<Datastore> datastore_;
};

std::unique_ptr<Drafter> make(const Napi::Object& given) {
  const std::string kind = given.Get("kind").ToString().Utf8Value();
  if (kind == "n-gram") {
    NGramOptions options;
    options.min_n = integer(given, "minN", 1, NGramIndex::most);
    options.max_n = integer(given, "maxN", options.min_n, NGramIndex::most);
    options.latest = given.Get("latest").ToBoolean().Value();
    options.branches = integer(given, "branches", 1, 64);
    return std::make_unique<NGramDrafter>(options);
  }
  if (kind == "input-copy") {
    InputCopyOptions options;
    options.min_gram = integer(given, "minGram", 1, NGramIndex::most);
    options.max_gram = integer(given, "maxGram", options.min_gram, NGramIndex::most);
    options.branches = integer(given, "branches", 1, 64);
    options.first_draft = integer(given, "firstDraft", 1, 4096);
    if (const Napi::Value input = given.Get("input"); !input.IsUndefined()) {
      const Napi::Int32Array tokens = integers(input, "input");
      options.input.emplace(tokens.Data(), tokens.Data() + tokens.ElementLength());
    }
    return std::make_unique<InputCopyDrafter>(std::move(options));
  }
  if (kind == "lookahead") {
    LookaheadOptions options;
    options.n = integer(given, "n", 2, 16);
    options.window = integer(given, "window", 1, 64);
    options.candidates = integer(given, "candidates", 1, 64);
    options.seed = given.Get("seed").ToBoolean().Value();
    return std::make_unique<LookaheadDrafter>(options);
  }
  if (kind == "suffix") {
    SuffixOptions options;
    options.depth = integer(given, "depth", 2, SuffixTrie::most_depth);
    options.factor = number(given, "factor", 0, 1e6);
    options.offset = number(given, "offset", -1e6, 1e6);
    options.min_prob = number(given, "minProb", 0, 1);
    if (const Napi::Value cache = given.Get("cache"); !cache.IsUndefined())
      options.cache = tagged<SuffixCacheWrap>(cache, cache_tag, "SuffixCache")->alive();
    return std::make_unique<SuffixDrafter>(options);
  }
  if (kind == "datastore") {
    DatastoreOptions options;
    options.min_span = integer(given, "minSpan", 1, 256);
    options.max_span = integer(given, "maxSpan", options.min_span, 256);
    options.samples = integer(given, "samples", 1, 8192);
    options.datastore = tagged<DatastoreWrap>(given.Get("datastore"), datastore_tag, "Datastore")->alive();
    return std::make_unique<DatastoreDrafter>(options);
  }
  if (kind == "model") return make_model_drafter(given);
  throw Error("INVALID_ARGUMENT", "There is no drafter of kind \"" + kind + "\"");
}

// new Drafter(options); accept(tokens); hear(features); truncate(length); draft(…); draftLater(…); probe();
// probed(tokens); fork(); studied(); bytes; dispose()
class DrafterWrap : public Napi::ObjectWrap<DrafterWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "Drafter",
        {InstanceMethod<&DrafterWrap::accept>("accept"), InstanceMethod<&DrafterWrap::hear>("hear"),
         InstanceMethod<&DrafterWrap::truncate>("truncate"), InstanceMethod<&DrafterWrap::draft>("draft"),
         InstanceMethod<&DrafterWrap::draft_later>("draftLater"), InstanceMethod<&DrafterWrap::probe>("probe"),
         InstanceMethod<&DrafterWrap::probed>("probed"), InstanceMethod<&DrafterWrap::fork>("fork"),
         InstanceMethod<&DrafterWrap::studied>("studied"), InstanceAccessor<&DrafterWrap::bytes>("bytes"),
         InstanceMethod<&DrafterWrap::dispose>("dispose")});
  }
  explicit DrafterWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DrafterWrap>(info) {
    guarded(info.Env(), [&] {
      shared_ = std::make_shared<SharedDrafter>();
      // fork() hands over the drafter itself.
      if (info[0].IsExternal())
        shared_->drafter = std::move(*info[0].As<Napi::External<std::unique_ptr<Drafter>>>().Data());
      else
        shared_->drafter = make(info[0].ToObject());
      if (!info[0].IsExternal()) kept_ = Napi::Persistent(info[0].ToObject());  // samplers and the like
    });
    info.This().As<Napi::Object>().TypeTag(&drafter_tag);
  }
  // Throws DISPOSED, and OUT_OF_MEMORY once a run could not go on with it.
  const std::shared_ptr<SharedDrafter>& shared() const {
    if (!shared_) throw Error("DISPOSED", "The drafter was disposed");
    if (shared_->broken) throw Error("OUT_OF_MEMORY", "There was no memory for a drafter's text");
    return shared_;
  }

 private:
  Drafter& alive() const { return *shared()->drafter; }
  void accept(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] {
      const Napi::Int32Array tokens = integers(info[0], "tokens");
      try {
        alive().accept(tokens.Data(), static_cast<int64_t>(tokens.ElementLength()));
      } catch (const std::bad_alloc&) {
        shared_.reset();  // half of the tokens may be in
        throw;
      }
    });
  }
  // hear(features: Float32Array): of some rows
  void hear(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] {
      const auto features = typed<Napi::Float32Array>(info[0], napi_float32_array, "features");
      Drafter& own = alive();
      if (own.width() < 1 || features.ElementLength() % static_cast<size_t>(own.width()) != 0)
        throw Error("INTERNAL", "This drafter reads rows of another width");
      own.hear(features.Data(), static_cast<int64_t>(features.ElementLength()) / own.width());
    });
  }
  void truncate(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] {
      const int64_t length = info[0].ToNumber().Int64Value();
      if (length < 0) throw Error("INVALID_ARGUMENT", "A text has no negative length");
      alive().truncate(length);
    });
  }
  // draft(maxTokens, maxNodes, tokens: Int32Array, parents: Int32Array, scores: Float32Array): how many were written
  Napi::Value draft(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      Napi::Int32Array tokens = integers(info[2], "tokens"), parents = integers(info[3], "parents");
      Napi::Float32Array scores = typed<Napi::Float32Array>(info[4], napi_float32_array, "scores");
      const size_t room = std::min({tokens.ElementLength(), parents.ElementLength(), scores.ElementLength()});
      const int64_t max_tokens = info[0].ToNumber().Int64Value(), max_nodes = info[1].ToNumber().Int64Value();
      if (max_tokens < 0 || max_tokens > most_drafted || max_nodes < 0 || max_nodes > static_cast<int64_t>(room) ||
          max_nodes > most_drafted)
        throw Error("INVALID_ARGUMENT",
                    "Expected 0 to " + std::to_string(most_drafted) + " tokens and nodes, and room for all nodes");
      Drafter& drafter = alive();
      draft_.clear();
      if (max_tokens > 0 && max_nodes > 0)
        drafter.draft(static_cast<int>(max_tokens), static_cast<int>(max_nodes), draft_);
      std::copy(draft_.tokens.begin(), draft_.tokens.end(), tokens.Data());
      std::copy(draft_.parents.begin(), draft_.parents.end(), parents.Data());
      std::copy(draft_.scores.begin(), draft_.scores.end(), scores.Data());
      return Napi::Number::New(info.Env(), draft_.size());
    });
  }
  // draftLater(maxTokens, maxNodes, cycle): Promise<{ tokens, parents, scores }>
  Napi::Value draft_later(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      DraftSize most;
      most.tokens = static_cast<int>(std::clamp<int64_t>(info[0].ToNumber().Int64Value(), 0, most_drafted));
      most.nodes = static_cast<int>(std::clamp<int64_t>(info[1].ToNumber().Int64Value(), 0, most_drafted));
      const auto cycle = static_cast<uint64_t>(std::max(1.0, info[2].ToNumber().DoubleValue()));
      return vivace::draft_later(info.This().As<Napi::Object>(), shared(), most, cycle);
    });
  }
  // probe(): { tokens, parents, outputs: how many } | null, of the last draft
  Napi::Value probe(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const Probe* const probe = alive().probe();
      if (probe == nullptr) return info.Env().Null();
      Napi::Object result = Napi::Object::New(info.Env());
      for (const auto& [name, list] : {std::pair{"tokens", &probe->tokens}, std::pair{"parents", &probe->parents}}) {
        Napi::Int32Array array = Napi::Int32Array::New(info.Env(), list->size());
        std::copy(list->begin(), list->end(), array.Data());
        result.Set(name, array);
      }
      result.Set("outputs", probe->outputs);
      return result;
    });
  }
  void probed(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] {
      const Napi::Int32Array tokens = integers(info[0], "tokens");
      alive().probed(tokens.Data(), static_cast<int64_t>(tokens.ElementLength()));
    });
  }
  Napi::Value fork(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      std::unique_ptr<Drafter> copy = alive().fork();
      const auto external = Napi::External<std::unique_ptr<Drafter>>::New(info.Env(), &copy);
      return info.This().As<Napi::Object>().Get("constructor").As<Napi::Function>().New({external});
    });
  }
  Napi::Value bytes(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), shared_ ? static_cast<double>(shared_->drafter->bytes()) : 0);
  }
  // studied(): Int32Array, as Drafter::studied() says
  Napi::Value studied(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      std::vector<int32_t> found;
      if (shared_) shared_->drafter->studied(found);
      Napi::Int32Array array = Napi::Int32Array::New(info.Env(), found.size());
      std::copy(found.begin(), found.end(), array.Data());
      return array;
    });
  }
  void dispose(const Napi::CallbackInfo&) { shared_.reset(); }

  std::shared_ptr<SharedDrafter> shared_;
  Napi::ObjectReference kept_;
  Draft draft_;
};

}  // namespace

void init_drafter(Napi::Env env, Napi::Object exports) {
  exports.Set("Drafter", DrafterWrap::define(env));
  exports.Set("SuffixCache", SuffixCacheWrap::define(env));
  exports.Set("Datastore", DatastoreWrap::define(env));
}

std::shared_ptr<SharedDrafter> unwrap_drafter(Napi::Value value) {
  return tagged<DrafterWrap>(value, drafter_tag, "Drafter")->shared();
}

}  // namespace vivace
