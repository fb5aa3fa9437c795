#include "addon/tokenizer_wrap.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/error_wrap.h"
#include "text/encode/byte_pair.h"
#include "text/encode/sentencepiece.h"
#include "text/encode/unigram.h"
#include "text/tables/find_few.h"
#include "text/tables/join_pieces.h"

namespace vivace {
namespace {

// A typed array that JavaScript keeps for the time of a call.
template <class T>
struct View {
  T* data = nullptr;
  size_t size = 0;
};

template <class T>
View<T> view(const Napi::Value& value, napi_typedarray_type type, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type)
    throw Error("INVALID_ARGUMENT", std::string("Expected a typed array of another kind for `") + name + "`");
  auto array = value.As<Napi::TypedArrayOf<T>>();
  return {array.Data(), array.ElementLength()};
}

View<uint8_t> bytes(const Napi::Value& value, const char* name) {
  return view<uint8_t>(value, napi_uint8_array, name);
}
View<int32_t> integers(const Napi::Value& value, const char* name) {
  return view<int32_t>(value, napi_int32_array, name);
}

// The option as it is, or nothing where JavaScript left it out.
bool given(const Napi::Object& options, const char* name) {
  const Napi::Value value = options.Get(name);
  return !value.IsUndefined() && !value.IsNull();
}
bool flag(const Napi::Object& options, const char* name) {
  return options.Get(name).ToBoolean().Value();
}

StringArena arena(const Napi::Value& bytes_value, const Napi::Value& offsets_value, const char* bytes_name,
                  const char* offsets_name) {
  const View<uint8_t> text = bytes(bytes_value, bytes_name);
  const View<uint32_t> offsets = view<uint32_t>(offsets_value, napi_uint32_array, offsets_name);
  bool valid = offsets.size > 0 && offsets.size < (1u << 28);
  for (size_t i = 1; valid && i < offsets.size; ++i) valid = offsets.data[i - 1] <= offsets.data[i];
  if (!valid || offsets.data[offsets.size - 1] > text.size)
    throw Error("FORMAT_INVALID", std::string("`") + offsets_name + "` do not lie in `" + bytes_name + "`");
  return {text.data, offsets.data, static_cast<uint32_t>(offsets.size - 1)};
}
StringArena arena(const Napi::Object& options, const char* bytes_name, const char* offsets_name) {
  return arena(options.Get(bytes_name), options.Get(offsets_name), bytes_name, offsets_name);
}

// Without offsets the bytes are a StringList.
Vocabulary read_vocabulary(const Napi::Object& options) {
  const View<int32_t> types = integers(options.Get("types"), "types");
  Vocabulary vocabulary;
  vocabulary.types.resize(types.size);
  std::transform(types.data, types.data + types.size, vocabulary.types.begin(),
                 [](int32_t type) { return static_cast<TokenType>(type); });
  if (given(options, "offsets")) {
    const StringArena tokens = arena(options, "bytes", "offsets");
    if (types.size != tokens.count) throw Error("FORMAT_INVALID", "The tokenizer has not one type for each token");
    vocabulary.bytes.assign(tokens.bytes, tokens.bytes + tokens.offsets[tokens.count]);
    vocabulary.offsets.assign(tokens.offsets, tokens.offsets + tokens.count + 1);
    return vocabulary;
  }
  const View<uint8_t> list = bytes(options.Get("bytes"), "bytes");
  const bool fits = types.size < (1u << 28) && list.size >= 8 * types.size && list.size < UINT32_MAX;
  if (fits) {
    vocabulary.bytes.resize(list.size - 8 * types.size);
    vocabulary.offsets.resize(types.size + 1);
  }
  if (!fits || !gather_strings({list.data, list.size}, vocabulary.size(), vocabulary.bytes.data(),
                               vocabulary.bytes.size(), vocabulary.offsets.data()))
    throw Error("FORMAT_INVALID", "The tokenizer has not one text for each type");
  return vocabulary;
}

MergeTexts read_merges(const Napi::Object& options) {
  if (given(options, "mergeOffsets")) {
    const StringArena merges = arena(options, "mergeBytes", "mergeOffsets");
    return {merges.bytes, merges.offsets[merges.count], merges.count, merges.offsets};
  }
  const View<uint8_t> list = bytes(options.Get("mergeBytes"), "mergeBytes");
  const int64_t count = options.Get("mergeCount").ToNumber().Int64Value();
  if (count < 0 || count >= (1 << 28) || static_cast<size_t>(count) > list.size / 8)
    throw Error("FORMAT_INVALID", "The tokenizer has more merges than bytes for them");
  return {list.data, list.size, static_cast<uint32_t>(count), nullptr};
}

int32_t unknown_token(const Napi::Object& options, uint32_t size) {
  if (!given(options, "unknown")) return -1;
  const int64_t id = options.Get("unknown").ToNumber().Int64Value();
  if (id < 0 || id >= size) throw Error("FORMAT_INVALID", "The unknown token lies outside of the vocabulary");
  return static_cast<int32_t>(id);
}

const SplitRule* split_rule(const std::string& name) {
  const SplitRule* rule = find_split_rule(name);
  if (rule == nullptr) throw Error("UNSUPPORTED_TOKENIZER", "The pre-split rule \"" + name + "\" is not known");
  return rule;
}

std::unique_ptr<TokenizerEngine> byte_pair(const Napi::Object& given_options, Vocabulary vocabulary) {
  BytePairOptions options;
  options.merges = read_merges(given_options);
  options.separator = static_cast<uint8_t>(given_options.Get("separator").ToNumber().Uint32Value());
  options.alphabet = flag(given_options, "alphabet");
  if (given(given_options, "rule")) options.rule = split_rule(given_options.Get("rule").ToString().Utf8Value());
  options.ignore_merges = flag(given_options, "ignoreMerges");
  options.byte_fallback = flag(given_options, "byteFallback");
  options.unknown = unknown_token(given_options, vocabulary.size());
  options.fuse_unknown = flag(given_options, "fuseUnknown");
  return make_byte_pair(std::move(vocabulary), options);
}

std::unique_ptr<TokenizerEngine> sentencepiece(const Napi::Object& given_options, Vocabulary vocabulary) {
  SentencePieceOptions options;
  if (given(given_options, "scores")) {
    const View<float> scores = view<float>(given_options.Get("scores"), napi_float32_array, "scores");
    if (scores.size < vocabulary.size())
      throw Error("FORMAT_INVALID", "The tokenizer has not one score for each token");
    options.scores.assign(scores.data, scores.data + vocabulary.size());
  }
  options.unknown = unknown_token(given_options, vocabulary.size());
  options.space_prefix = flag(given_options, "spacePrefix");
  return make_sentencepiece(std::move(vocabulary), options);
}

std::unique_ptr<TokenizerEngine> unigram(const Napi::Object& given_options, Vocabulary vocabulary) {
  UnigramOptions options;
  const View<double> scores = view<double>(given_options.Get("scores"), napi_float64_array, "scores");
  if (scores.size < vocabulary.size()) throw Error("FORMAT_INVALID", "The tokenizer has not one score for each token");
  options.scores.assign(scores.data, scores.data + vocabulary.size());
  options.single_precision = flag(given_options, "singlePrecision");
  options.unknown = unknown_token(given_options, vocabulary.size());
  options.byte_fallback = flag(given_options, "byteFallback");
  options.space_prefix = flag(given_options, "spacePrefix");
  options.remove_extra_spaces = flag(given_options, "removeExtraSpaces");
  if (given(given_options, "characterMap")) {
    const View<uint8_t> map = bytes(given_options.Get("characterMap"), "characterMap");
    options.character_map.assign(map.data, map.data + map.size);
    if (map.size == 0) options.character_map.push_back(0);  // is refused as damaged
  }
  return make_unigram(std::move(vocabulary), options);
}

class TokenizerWrap : public Napi::ObjectWrap<TokenizerWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "Tokenizer",
        {InstanceMethod<&TokenizerWrap::encode>("encode"), InstanceMethod<&TokenizerWrap::take>("take")});
  }

  // Tokenizer(options): NativeTokenizerOptions of lib/native.ts
  explicit TokenizerWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TokenizerWrap>(info) {
    engine_ = guarded(info.Env(), [&] { return make(info[0].ToObject()); });
  }

 private:
  static std::unique_ptr<TokenizerEngine> make(const Napi::Object& options) {
    const std::string kind = options.Get("kind").ToString().Utf8Value();
    Vocabulary vocabulary = read_vocabulary(options);
    if (kind == "byte-pair") return byte_pair(options, std::move(vocabulary));
    if (kind == "sentencepiece") return sentencepiece(options, std::move(vocabulary));
    if (kind == "unigram") return unigram(options, std::move(vocabulary));
    throw Error("INVALID_ARGUMENT", "There is no tokenizer of kind " + kind);
  }

  // encode(text: Uint8Array, parts: Int32Array, withOffsets): number of tokens, which wait for take(). Parts are pairs:
  // what the part is, and where in the text it ends. A part is a token (0 and more), or text: -1 with 1 less if it
  // follows a special token or begins the input, 2 less if it is one piece already.
  Napi::Value encode(const Napi::CallbackInfo& info) {
    const uint32_t count = guarded(info.Env(), [&] {
      sink_.clear();
      sink_.with_ends = info[2].ToBoolean().Value();
      const View<uint8_t> text = bytes(info[0], "text");
      const View<int32_t> parts = integers(info[1], "parts");
      if (text.size > 0x40000000u) throw Error("INVALID_ARGUMENT", "The text is longer than 1 GiB");
      uint32_t begin = 0;
      for (size_t i = 0; i + 1 < parts.size; i += 2) {
        const int32_t what = parts.data[i];
        const auto end = static_cast<uint32_t>(parts.data[i + 1]);
        if (end < begin || end > text.size || what < -4)
          throw Error("INVALID_ARGUMENT", "A part lies outside of the text");
        if (what >= 0) {
          sink_.push(what, end);
        } else {
          const int32_t flags = -1 - what;
          const TextPlace place{(flags & 1) != 0, (flags & 2) != 0};
          engine_->encode({text.data + begin, end - begin, text.size - begin}, place, begin, sink_);
        }
        begin = end;
      }
      return sink_.size();
    });
    return Napi::Number::New(info.Env(), count);
  }

  // take(tokens: Int32Array, offsets?: Uint32Array [tokens + 1])
  void take(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] {
      const View<int32_t> tokens = integers(info[0], "tokens");
      if (tokens.size != sink_.size()) throw Error("INVALID_ARGUMENT", "Expected room for the tokens of encode()");
      std::copy(sink_.tokens(), sink_.tokens() + sink_.size(), tokens.data);
      if (!info[1].IsUndefined()) {
        const View<uint32_t> offsets = view<uint32_t>(info[1], napi_uint32_array, "offsets");
        if (!sink_.with_ends || offsets.size != tokens.size + 1)
          throw Error("INVALID_ARGUMENT", "Expected room for the offsets of encode()");
        offsets.data[0] = 0;
        std::copy(sink_.ends().begin(), sink_.ends().end(), offsets.data + 1);
      }
      sink_.clear();
    });
  }

  std::unique_ptr<TokenizerEngine> engine_;
  TokenSink sink_;
};

// skipStrings(list: Uint8Array, position, count, limit, out: Float64Array [2]): moves past strings that lie in the list
// and are no longer than `limit`; out receives how many these were and where the next one begins.
void skip_strings(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const View<uint8_t> list = bytes(info[0], "list");
    const View<double> out = view<double>(info[4], napi_float64_array, "out");
    if (out.size < 2) throw Error("INVALID_ARGUMENT", "Expected room for two numbers");
    StringList strings(list.data, list.size, static_cast<size_t>(info[1].ToNumber().Int64Value()));
    const int64_t count = info[2].ToNumber().Int64Value();
    const auto limit = static_cast<size_t>(info[3].ToNumber().Int64Value());
    int64_t done = 0;
    const uint8_t* string;
    size_t length;
    while (done < count && strings.next(&string, &length, limit)) ++done;
    out.data[0] = static_cast<double>(done);
    out.data[1] = static_cast<double>(strings.position());
  });
}

// gatherStrings(list: Uint8Array, bytes: Uint8Array [list - 8 · count], offsets: Uint32Array [count + 1])
void gather_string_list(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const View<uint8_t> list = bytes(info[0], "list");
    const View<uint8_t> out = bytes(info[1], "bytes");
    const View<uint32_t> offsets = view<uint32_t>(info[2], napi_uint32_array, "offsets");
    const bool fits = offsets.size > 0 && offsets.size <= (1u << 28) && out.size < UINT32_MAX;
    if (!fits || !gather_strings({list.data, list.size}, static_cast<uint32_t>(offsets.size - 1), out.data, out.size,
                                 offsets.data))
      throw Error("INVALID_ARGUMENT", "Expected room for the strings of the list");
  });
}

// findStrings(bytes, offsets, wantedBytes, wantedOffsets, types: Int32Array | undefined, found: Int32Array): the number
// of the first string that equals each wanted one, or -1; with types only those count that are not of type normal.
void find_strings(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const StringArena strings = arena(info[0], info[1], "bytes", "offsets");
    const StringArena wanted = arena(info[2], info[3], "wantedBytes", "wantedOffsets");
    const View<int32_t> types = info[4].IsUndefined() ? View<int32_t>{} : integers(info[4], "types");
    const View<int32_t> found = integers(info[5], "found");
    if ((types.data != nullptr && types.size != strings.count) || found.size != wanted.count)
      throw Error("INVALID_ARGUMENT", "Expected a type for each string and room for each wanted one");
    find_few(strings, wanted, reinterpret_cast<const TokenType*>(types.data), found.data);
  });
}

// joinPieces(tokens: Int32Array, places: Int32Array [2 · vocabulary], bytes: Uint8Array, types: Int32Array | undefined,
// out: Uint8Array, progress: Int32Array [2]): see lib/native.ts.
void join_token_pieces(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const View<int32_t> tokens = integers(info[0], "tokens"), places = integers(info[1], "places");
    const View<uint8_t> arena = bytes(info[2], "bytes"), out = bytes(info[4], "out");
    const View<int32_t> types = info[3].IsUndefined() ? View<int32_t>{} : integers(info[3], "types");
    const View<int32_t> progress = integers(info[5], "progress");
    if (progress.size != 2 || (types.data != nullptr && 2 * types.size != places.size))
      throw Error("INVALID_ARGUMENT", "Expected a place and a type for each token");
    const PieceArena pieces{arena.data, arena.size, places.data, places.size / 2,
                            reinterpret_cast<const TokenType*>(types.data)};
    const JoinProgress done =
        join_pieces(pieces, tokens.data, tokens.size, out.data, out.size,
                    {static_cast<size_t>(progress.data[0]), static_cast<size_t>(progress.data[1])});
    progress.data[0] = static_cast<int32_t>(done.token);
    progress.data[1] = static_cast<int32_t>(done.end);
  });
}

// preSplit(rule, text: Uint8Array, ends: Uint32Array): number of pieces; at most one per byte.
Napi::Value pre_split_text(const Napi::CallbackInfo& info) {
  const size_t count = guarded(info.Env(), [&] {
    const SplitRule* rule = split_rule(info[0].ToString().Utf8Value());
    const View<uint8_t> text = bytes(info[1], "text");
    const View<uint32_t> out = view<uint32_t>(info[2], napi_uint32_array, "ends");
    std::vector<uint32_t> ends, spare;
    pre_split(*rule, text.data, 0, static_cast<uint32_t>(text.size), ends, spare);
    if (ends.size() > out.size) throw Error("INVALID_ARGUMENT", "Expected room for one piece per byte");
    std::copy(ends.begin(), ends.end(), out.data);
    return ends.size();
  });
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

// preSplitRules(): the names that preSplit() knows, and the version of Unicode that its classes are of.
Napi::Value list_split_rules(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  Napi::Array names = Napi::Array::New(info.Env());
  for (const std::string& name : split_rule_names()) names.Set(names.Length(), name);
  result.Set("names", names);
  result.Set("unicode", split_unicode_version());
  return result;
}

}  // namespace

void init_tokenizer(Napi::Env env, Napi::Object exports) {
  exports.Set("Tokenizer", TokenizerWrap::define(env));
  exports.Set("skipStrings", Napi::Function::New(env, skip_strings));
  exports.Set("gatherStrings", Napi::Function::New(env, gather_string_list));
  exports.Set("findStrings", Napi::Function::New(env, find_strings));
  exports.Set("joinPieces", Napi::Function::New(env, join_token_pieces));
  exports.Set("preSplit", Napi::Function::New(env, pre_split_text));
  exports.Set("preSplitRules", Napi::Function::New(env, list_split_rules));
}

}  // namespace vivace
