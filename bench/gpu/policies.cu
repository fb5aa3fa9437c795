// Cache policies at the set-ups of their papers, by name: how many times as fast as the full cache with these kernels,
// next to what bytes and operations alone allow and what is wanted. scripts/gpu/bench.mjs builds and runs it, and puts
// PyTorch's attention in the place of the full cache's, which is nearer to what the papers compare with.
// Words of the command line choose benches; without any all run.
#include "bench/gpu/attention_call.h"

namespace vivace::cuda {
namespace {

struct Card {
  DeviceProperties device;
  double rate;  // bytes per second of a copy
};

// A model whose weights are read once for a round, as fast as a copy; attention is measured.
struct Model {
  const char* name;
  double weights;  // bytes of F16, all but the embedding
  int layers, kv_heads;
};
constexpr Model llama2 = {"Llama 2 7B", 13.2e9, 32, 32}, llama3 = {"Llama 3 8B", 15.0e9, 32, 8};

int heads_of(const Model& model) {
  return sized(model.kv_heads, model.kv_heads / 8);
}
AttentionShape full_cache(const Model& model, int sequences, int cells) {
  return {DType::F16, sequences, cells, 1, heads_of(model)};
}
// Bytes of keys and values that a layer reads of so many cells.
double kv_bytes(const AttentionShape& shape, double cells) {
  return 4.0 * bench_dim * shape.kv_heads * shape.sequences * cells;
}
std::string title(const char* name, int sequences, int cells) {
  return std::string(name) + ", " + std::to_string(sequences) + " of " + std::to_string(cells);
}

// For scripts/gpu/bench.mjs: a round's time, and what of it would be the same with another's attention over all cells.
void print_round(const std::string& what, double round, double rest, int layers, const AttentionShape& full,
                 double wanted) {
  std::printf(
      "FIGURE "
      "{\"what\":\"%s\",\"unit\":\"us\",\"value\":%.6g,\"rest\":%.6g,\"layers\":%d,\"sequences\":%d,\"cells\":%d,"
      "\"wanted\":%.4g}\n",
      what.c_str(), round * 1e6, rest * 1e6, layers, full.sequences, full.cells, wanted);
}

// What is wanted of a set-up: next to the full cache here, and next to PyTorch's attention; 0: not compared.
struct Wanted {
  double here, paper;
};

// A round of decoding with `full_layers` layers as before and the others under the policy, which read `bytes` each.
void compare(const Card& card, const char* name, const Model& model, const AttentionShape& full,
             const AttentionShape& sparse, int full_layers, double bytes, const Wanted& wanted) {
  const std::string what = title(name, full.sequences, full.cells);
  const double all = time_shape(card.device, full), some = time_shape(card.device, sparse);
  const double weights = model.weights / card.rate, before = weights + model.layers * all;
  const double after = weights + full_layers * all + (model.layers - full_layers) * some;
  const double full_bytes = kv_bytes(full, full.cells);
  const double allowed = (model.weights + model.layers * full_bytes) /
                         (model.weights + full_layers * full_bytes + (model.layers - full_layers) * bytes);
  std::printf("%s, %s: a layer under the policy %.2f us, full %.2f us; tokens/s %.1f, full %.1f\n", what.c_str(),
              model.name, some * 1e6, all * 1e6, full.sequences / after, full.sequences / before);
  print_figure(what + ": attention of a layer, times as fast", all / some, "");
  print_speedup(what + ": decoding", before / after, allowed, wanted.here);
  if (wanted.paper > 0) print_round(what + ": a round", after, weights, model.layers, full, wanted.paper);
}

// Every row chooses one of 16 cells by 8 channels of 16 bits, each query head for itself.
void choose_of_16(AttentionShape& shape) {
  DeviceLabels& labels = shape.labels;
  labels.channels = 8;
  labels.bits = 16;
  labels.sets = bench_heads();
  labels.share = 16;
  labels.bytes = int64_t{2} * labels.channels * shape.page_size;
}
// Labels, scores written and read, keys and values of chosen cells.
double choosing_bytes(const AttentionShape& shape) {
  const double cells = static_cast<double>(shape.sequences) * shape.cells;
  return cells * bench_heads() * (2.0 * shape.labels.channels + 8.0) + bench_heads() * cells / 16 * 4.0 * bench_dim;
}

// Table of the paper: the operator alone, batches of 1 to 32, 2 to 16 thousand cells. Next to these kernels' full
// attention at most 9 is to be had; the paper's 14.1 is next to PyTorch's.
void double_sparsity_operator(const Card& card) {
  double best = 0, allowed = 0;
  for (const int sequences : tiny ? std::vector<int>{1, 2} : std::vector<int>{1, 4, 8, 16, 32})
    for (const int cells : tiny ? std::vector<int>{128} : std::vector<int>{2048, 4096, 8192, 16384}) {
      AttentionShape full = {DType::F16, sequences, cells, 1, bench_heads()}, sparse = full;
      choose_of_16(sparse);
      const double all = time_shape(card.device, full), some = time_shape(card.device, sparse);
      const std::string what = title("double-sparsity-operator", sequences, cells);
      std::printf("%-66s %10.2f us, full %10.2f us\n", what.c_str(), some * 1e6, all * 1e6);
      print_round(what, some, 0, 1, full, 14.1);
      best = std::max(best, all / some);
      allowed = kv_bytes(full, cells) / choosing_bytes(sparse);
    }
  print_speedup("double-sparsity-operator, the best shape", best, allowed, 9);
}

void double_sparsity_decode(const Card& card) {
  const AttentionShape full = {DType::F16, sized(4, 1), sized(16384, 128), 1, bench_heads()};
  AttentionShape sparse = full;
  choose_of_16(sparse);
  compare(card, "double-sparsity-decode", llama2, full, sparse, 2, choosing_bytes(sparse), {1.9, 1.9});
}

// What stays of a prompt lies in pages of its own, so decoding is that of a shorter text.
void keep(const Card& card, const char* name, const Model& model, int sequences, int cells, const Wanted& wanted) {
  const AttentionShape full = full_cache(model, sequences, cells);
  AttentionShape sparse = full;
  sparse.cells = sized(2048, 48);
  compare(card, name, model, full, sparse, 0, kv_bytes(sparse, sparse.cells), wanted);
}
void snapkv_16k(const Card& card) {
  keep(card, "snapkv-16k", llama2, 2, sized(16384, 128), {3.6, 3.6});
}
void snapkv_128k(const Card& card) {
  keep(card, "snapkv-128k", llama3, sized(8, 2), sized(131072, 128), {3, 0});
}

// What compressing adds to a prompt. Its products of weights are taken to run as fast as its attention.
void snapkv_prompt(const Card& card) {
  constexpr double weights = 2 * 202.4e6;  // operations of a layer of Llama 2 7B, a token
  for (const auto& [cells, most] : {std::pair<int, double>{sized(16384, 96), 0.03}, {sized(65536, 128), 0.01}}) {
    AttentionShape prompt = {DType::F16, 1, cells, cells, heads_of(llama2)};
    AttentionShape compressing = prompt;
    compressing.rows = sized(32, 8);
    compressing.kept = sized(2048, 32);
    const double attention = time_shape(card.device, prompt), added = time_shape(card.device, compressing);
    const double whole = attention * (1 + weights / (2.0 * bench_heads() * bench_dim * cells));
    print_bar(title("snapkv-prompt", 1, cells) + ": compressing, share of the prompt", added * 1e6, whole * 1e6, "us",
              added / whole, most, false);
  }
}

// How many times as fast a prompt's last 512 rows are as with all that is before them.
double compare_rows(const Card& card, AttentionShape shape) {
  shape.rows = sized(512, 32);
  AttentionShape full = shape;
  full.pattern = {};
  return time_shape(card.device, full) / time_shape(card.device, shape);
}

void lm_infinite_32k(const Card& card) {
  Pattern pattern = {};
  pattern.sinks = 10;
  pattern.window = sized(4096, 48);
  pattern.turned = 64;
  // The paper's 2.7 is of a larger part of attention than one sequence has here: of one bytes allow 1.9.
  for (const int sequences : {1, sized(6, 2)}) {
    const AttentionShape full = full_cache(llama2, sequences, sized(32768, 128));
    AttentionShape sparse = full;
    sparse.pattern = pattern;
    const double seen = pattern.sinks + pattern.window;
    compare(card, "lm-infinite-32k", llama2, full, sparse, 0, kv_bytes(sparse, seen),
            {sequences == 1 ? 1.7 : 2.7, 2.7});
  }
  AttentionShape prompt = full_cache(llama2, 1, sized(131072, 128));
  prompt.pattern = pattern;
  // Of all rows of the prompt half as much is saved as of the last ones.
  print_speedup(title("lm-infinite-32k", 1, prompt.cells) + ": attention of the prompt", compare_rows(card, prompt) / 2,
                prompt.cells / 2.0 / (pattern.sinks + pattern.window), 10);
}

// Eleven of 32 layers stay full. A prompt's attention is a third as much, its products are as before: at most 1.86
// times as fast as before, if both run as fast.
void hybrid(const Card& card, const char* name, const Pattern& pattern, double seen) {
  const int cells = sized(131072, 128), full_layers = 11;
  for (const int sequences : {1, sized(8, 2)}) {
    const AttentionShape full = full_cache(llama2, sequences, cells);
    AttentionShape sparse = full;
    sparse.pattern = pattern;
    compare(card, name, llama2, full, sparse, full_layers, kv_bytes(sparse, seen),
            {sequences == 1 ? 1.41 : 2, sequences == 1 ? 1.41 : 0});
  }
  AttentionShape prompt = full_cache(llama2, 1, cells);
  prompt.pattern = pattern;
  // Half way through the prompt rows have half as much before them, under a window as much as at the end.
  const double times = compare_rows(card, prompt);
  print_figure(title(name, 1, cells) + ": the last rows of a prompt, times as fast", times, "");
  const double attention = 2.0 * cells * cells * bench_heads() * bench_dim, products = 2 * 202.4e6 * cells;
  const double share = attention / (attention + products), full_share = full_layers / 32.0;
  const auto whole = [&](double faster) { return 1 / (1 - share + share * (full_share + (1 - full_share) / faster)); };
  const double growth = pattern.block > 0 ? 1 : 0.5;  // of the advantage of the last rows, over all rows
  print_speedup(title(name, 1, cells) + ": the prompt", whole(std::max(1.0, growth * times)),
                whole(std::max(1.0, growth * cells / seen)), 1.6);
}
void longgen_window(const Card& card) {
  Pattern pattern = {};
  pattern.sinks = sized(64, 8);
  pattern.window = sized(2048, 48);
  hybrid(card, "longgen-128k-window", pattern, pattern.sinks + pattern.window);
}
void longgen_blocks(const Card& card) {
  Pattern pattern = {};
  pattern.block = sized(64, 16);
  pattern.local = sized(16, 1);
  pattern.stride = sized(16, 4);
  pattern.head_step = pattern.always_first = 1;
  hybrid(card, "longgen-128k-blocks", pattern, most_slots(pattern, sized(131072, 128)));
}

struct Named {
  const char* name;
  void (*run)(const Card&);
};
constexpr Named benches[] = {
    {"double-sparsity-operator", double_sparsity_operator},
    {"double-sparsity-decode", double_sparsity_decode},
    {"snapkv-16k", snapkv_16k},
    {"snapkv-128k", snapkv_128k},
    {"snapkv-prompt", snapkv_prompt},
    {"lm-infinite-32k", lm_infinite_32k},
    {"longgen-128k-window", longgen_window},
    {"longgen-128k-blocks", longgen_blocks},
};

void run() {
  const DeviceProperties device = bench_device();
  const Card card = {device, copy_rate(device)};
  for (const Named& bench : benches)
    if (is_wanted(bench.name)) bench.run(card);
}

}  // namespace
}  // namespace vivace::cuda

int main(int count, char** words) {
  return vivace::cuda::run_bench(count, words, [](bool) { vivace::cuda::run(); });
}
