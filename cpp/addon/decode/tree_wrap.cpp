#include "addon/decode/tree_wrap.h"

#include <algorithm>

#include "addon/decode/sampler_wrap.h"
#include "addon/decode/verify_wrap.h"
#include "addon/error_wrap.h"
#include "core/error.h"

namespace vivace {
namespace {

int32_t integer(const Napi::Object& given, const char* name, int32_t least, int32_t most) {
  const double value = given.Get(name).ToNumber().DoubleValue();
  if (!(value >= least && value <= most)) throw Error("INTERNAL", std::string("run: a tree's ") + name);
  return static_cast<int32_t>(value);
}

}  // namespace

TreeShape read_shape(const Napi::Object& given) {
  constexpr int32_t most_nodes = 4096;
  TreeShape shape;
  shape.depth = integer(given, "depth", 1, most_nodes);
  shape.nodes = integer(given, "nodes", 1, most_nodes);
  shape.top_k = integer(given, "topK", 1, most_nodes);
  shape.width = integer(given, "width", 1, most_nodes);
  shape.least = given.Get("least").ToNumber().FloatValue();
  if (given.Get("parents").IsTypedArray()) {
    const Napi::Int32Array parents = given.Get("parents").As<Napi::Int32Array>();
    shape.parents.assign(parents.Data(), parents.Data() + parents.ElementLength());
    for (size_t i = 0; i < shape.parents.size(); ++i)
      if (shape.parents[i] < -1 || shape.parents[i] >= static_cast<int32_t>(i))
        throw Error("INTERNAL", "run: a tree's parents must come before their children");
    if (shape.parents.size() > static_cast<size_t>(shape.nodes))
      throw Error("INTERNAL", "run: a tree's shape has too many nodes");
  }
  if (given.Get("scores").IsTypedArray()) {
    const Napi::Float32Array scores = given.Get("scores").As<Napi::Float32Array>();
    shape.scores.assign(scores.Data(), scores.Data() + scores.ElementLength());
    if (shape.scores.size() != shape.parents.size()) throw Error("INTERNAL", "run: a tree wants a score per node");
  }
  return shape;
}

namespace {

std::unique_ptr<GrowingTree> read_tree(const Napi::Object& given) {
  const Napi::Value proposal = given.Get("proposal");
  TreeShape shape = read_shape(given);
  if (given.Get("parents").IsTypedArray() && shape.parents.empty())
    throw Error("INTERNAL", "run: a tree's shape has no node");
  if (proposal.IsObject() && shape.parents.empty())
    throw Error("INTERNAL", "run: a tree that is drawn has a fixed shape");
  const double cycle = given.Get("cycle").ToNumber().DoubleValue();
  return std::make_unique<GrowingTree>(std::move(shape), unwrap_sampler(given.Get("sampler")),
                                       proposal.IsObject() ? unwrap_proposal(proposal) : nullptr,
                                       static_cast<uint64_t>(std::max(1.0, cycle)));
}

template <class Value>
void fill(const Napi::Object& given, const char* name, const std::vector<Value>& values) {
  const Napi::TypedArray array = given.Get(name).As<Napi::TypedArray>();
  if (array.ElementSize() != sizeof(Value) || array.ElementLength() < values.size())
    throw Error("INTERNAL", std::string("run: ") + name + " has no room for a tree");
  auto* out = reinterpret_cast<Value*>(static_cast<std::byte*>(array.ArrayBuffer().Data()) + array.ByteOffset());
  std::copy(values.begin(), values.end(), out);
}

void report(Napi::Object given, const GrowingTree& tree) {
  Draft draft;
  std::vector<int32_t> rows;
  tree.finish(draft, rows);
  fill(given, "tokens", draft.tokens);
  fill(given, "above", draft.parents);
  fill(given, "probabilities", draft.scores);
  fill(given, "rows", rows);
  given.Get("count").As<Napi::Int32Array>()[0] = draft.size();
}

// growTree(tree, logitsOf): a tree by itself, for tests; `logitsOf(path)` gives the logits behind a path, of which a
// tree with `levels` asks one of each length.
void grow_now(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const Napi::Object given = info[0].As<Napi::Object>();
    const auto tree = read_tree(given);
    std::vector<float> logits;
    const auto ask = [&](const std::vector<int32_t>& path) {
      Napi::Int32Array tokens = Napi::Int32Array::New(info.Env(), path.size());
      std::copy(path.begin(), path.end(), tokens.Data());
      const auto row = info[1].As<Napi::Function>().Call({tokens}).As<Napi::Float32Array>();
      logits.insert(logits.end(), row.Data(), row.Data() + row.ElementLength());
      return static_cast<int64_t>(row.ElementLength());
    };
    if (given.Get("levels").IsNumber()) {
      const int32_t levels = integer(given, "levels", 1, 64);
      int64_t vocab = 0;
      for (int32_t depth = 0; depth < levels; ++depth) vocab = ask(std::vector<int32_t>(static_cast<size_t>(depth), 0));
      tree->take_all(logits.data(), vocab, levels);
    }
    while (!tree->level().empty()) {
      logits.clear();
      int64_t vocab = 0;
      for (const int32_t index : tree->level()) {
        std::vector<int32_t> path;
        for (int32_t at = index; at >= 0; at = tree->nodes()[static_cast<size_t>(at)].parent)
          path.insert(path.begin(), tree->nodes()[static_cast<size_t>(at)].token);
        vocab = ask(path);
      }
      tree->take(logits.data(), vocab);
    }
    if (tree->error() != SampleError::none) throw Error("NUMERIC", describe(tree->error()));
    report(given, *tree);
  });
}

}  // namespace

void init_trees(Napi::Env env, Napi::Object exports) {
  exports.Set("growTree", Napi::Function::New(env, grow_now));
}

int64_t cells_of_trees(const Napi::Value& sampling) {
  int64_t most = 0;
  if (!sampling.IsObject() || !sampling.As<Napi::Object>().Get("trees").IsArray()) return most;
  const Napi::Array list = sampling.As<Napi::Object>().Get("trees").As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object given = list.Get(i).As<Napi::Object>();
    if (given.Get("levels").IsNumber()) continue;  // nothing is computed
    const TreeShape shape = read_shape(given);
    const int64_t rows = shape.parents.empty() ? (shape.depth - int64_t{1}) * shape.width : shape.nodes;
    most = std::max(most, std::min(rows, LevelBatch::most_cells));
  }
  return most;
}

void read_trees(const Napi::Array& list, Round& round) {
  if (!round.has_batch || round.ahead || !round.draws.walks.empty() || !round.draws.drafts.empty())
    throw Error("INTERNAL", "run: trees want a batch, and no other drafts beside them");
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object given = list.Get(i).As<Napi::Object>();
    const int32_t output = integer(given, "output", 0, INT32_MAX);
    const auto at = static_cast<size_t>(output);
    if (at >= round.draws.samplers.size() || round.draws.samplers[at] != nullptr)
      throw Error("INTERNAL", "run: a tree's root is an output without a sampler");
    round.trees.push_back(read_tree(given));
    TreeRows rows{round.trees.back().get(), output};
    if (given.Get("levels").IsNumber()) rows.levels = integer(given, "levels", 1, 64);
    const ValueInfo& logits = round.state->executable->program().values[static_cast<size_t>(round.draws.logits)];
    if (rows.levels > 0 && logits.columns % rows.levels != 0)
      throw Error("INTERNAL", "run: a tree's levels are no equal parts of the logits");
    round.draws.trees.push_back(rows);
    if (round.batch.cells_behind(output) < 0) throw Error("INTERNAL", "run: a tree's root is the last row of a chain");
  }
}

void report_trees(const Napi::Object& sampling, const std::vector<std::unique_ptr<GrowingTree>>& trees) {
  if (trees.empty()) return;
  const Napi::Array list = sampling.Get("trees").As<Napi::Array>();
  for (size_t i = 0; i < trees.size(); ++i) {
    report(list.Get(static_cast<uint32_t>(i)).As<Napi::Object>(), *trees[i]);
  }
}

}  // namespace vivace
