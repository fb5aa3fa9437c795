#include "cuda/decode/draws.h"

#include <algorithm>
#include <cstring>

#include "cuda/decode/verify/law_store.h"

namespace vivace::cuda {
namespace {

int64_t aligned(int64_t bytes) {
  return (bytes + 255) / 256 * 256;
}

// Of a run's choices; the most probable tokens follow them.
int64_t choice_bytes(int64_t outputs) {
  return outputs * static_cast<int64_t>(sizeof(GreedyChoice));
}
static_assert(sizeof(TopToken) == sizeof(VivaceDeviceTop));

// Takes arrays out of a block of memory, one after the other.
class Divider {
 public:
  explicit Divider(std::byte* base) : base_(base) {}
  template <class T>
  T* take(int64_t count) {
    T* place = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += aligned(count * static_cast<int64_t>(sizeof(T)));
    return place;
  }
  int64_t used() const { return used_; }

 private:
  std::byte* base_;
  int64_t used_ = 0;
};

DrawRow row_of(const VivaceDeviceDraw& draw, int vocab) {
  DrawRow row{};
  row.room = -1;
  if (draw.how != VIVACE_DRAW_HERE) return row;
  row.flags = draw_here;
  row.vocab = std::min(draw.vocab, vocab);
  const bool penalised = draw.repetition_penalty != 1 || draw.presence_penalty != 0 || draw.frequency_penalty != 0;
  if (draw.bias_count > 0 || penalised) row.flags |= draw_adjusted;
  row.repetition = static_cast<float>(draw.repetition_penalty);
  row.presence = draw.presence_penalty;
  row.frequency = draw.frequency_penalty;
  row.bias_count = draw.bias_count;
  row.seen_count = penalised ? draw.seen_count : 0;
  row.seed = draw.seed;
  row.index = draw.index;
  row.lane = draw.lane;
  row.top_count = std::max(0, std::min(draw.top, row.vocab));
  row.children = draw.laws != nullptr ? std::clamp(draw.children, 0, row.vocab) : 0;
  if (draw.temperature <= 0) return row;
  row.flags |= draw_random;
  // A temperature so small that its inverse overflows is as good as 1e-30.
  row.scale = static_cast<float>(1 / std::max(draw.temperature, 1e-30));
  row.top_k = draw.top_k > 0 && draw.top_k < row.vocab ? static_cast<int32_t>(draw.top_k) : 0;
  row.top_p = draw.top_p;
  row.min_p = draw.min_p;
  row.typical_p = draw.typical_p;
  return row;
}

bool truncates(const DrawRow& row) {
  return (row.flags & draw_random) != 0 && (row.top_k > 0 || row.top_p < 1 || row.min_p > 0 || row.typical_p < 1);
}

// How long the lists are that go to the card with a run.
struct Counts {
  int64_t rows = 0, biases = 0, seen = 0, walks = 0, nodes = 0, weights = 0, drawn = 0;
  // Not sent, but made there: rows that truncate, rows that report, what they report, residuals of walks.
  int64_t rooms = 0, reports = 0, tops = 0, residuals = 0;
};

// Their places in one block of memory, here or on the card.
struct Given {
  Given(std::byte* base, const Counts& counts) {
    Divider divider(base);
    rows = divider.take<DrawRow>(counts.rows);
    bias_tokens = divider.take<int32_t>(counts.biases);
    biases = divider.take<float>(counts.biases);
    seen = divider.take<int32_t>(counts.seen);
    times = divider.take<uint32_t>(counts.seen);
    walks = divider.take<VerifyWalk>(counts.walks);
    nodes = divider.take<VerifyNode>(counts.nodes);
    law_heads = divider.take<LawHead>(counts.nodes);
    law_ids = divider.take<int32_t>(counts.weights);
    law_weights = divider.take<float>(counts.weights);
    drawn = divider.take<int32_t>(counts.drawn);
    bytes = divider.used();
  }
  DrawRow* rows;
  int32_t *bias_tokens, *seen, *law_ids, *drawn;
  float *biases, *law_weights;
  uint32_t* times;
  VerifyWalk* walks;
  VerifyNode* nodes;
  LawHead* law_heads;
  int64_t bytes;
};

LawStore& store_of(const void* laws) {
  return *static_cast<LawStore*>(const_cast<void*>(laws));
}

// The rows that are drawn from. Laws are kept where their stores have room for them.
std::vector<DrawRow> rows_of(const VivaceDeviceRun& run, SampleRun& sample, Counts& counts) {
  std::vector<DrawRow> rows;
  counts.rows = run.outputs;
  for (int64_t i = 0; i < run.outputs; ++i) {
    const VivaceDeviceDraw& draw = run.draws[i];
    DrawRow row = row_of(draw, sample.vocab);
    if (truncates(row)) row.room = static_cast<int32_t>(counts.rooms++);
    row.bias_begin = static_cast<int32_t>(counts.biases);
    row.seen_begin = static_cast<int32_t>(counts.seen);
    row.top_begin = static_cast<int32_t>(counts.tops);
    if (row.top_count > 0) row.top_room = static_cast<int32_t>(counts.reports++);
    if ((row.flags & draw_here) != 0 && draw.laws != nullptr)
      row.law = store_of(draw.laws).reserve(draw.law_node, row.top_k > 0 ? row.top_k : row.vocab);
    counts.biases += row.bias_count;
    counts.seen += row.seen_count;
    counts.tops += row.top_count + row.children;
    sample.adjusts = sample.adjusts || (row.flags & draw_adjusted) != 0;
    sample.draws_random = sample.draws_random || (row.flags & draw_random) != 0;
    sample.reports = sample.reports || row.top_count > 0;
    sample.keeps = sample.keeps || row.law.head != nullptr;
    sample.branches = sample.branches || row.children > 0;
    rows.push_back(row);
  }
  return rows;
}

// Counts what walks need.
void count(const VivaceDeviceRun& run, Counts& counts) {
  for (int32_t i = 0; i < run.walk_count; ++i)
    for (int32_t row = 0; row < run.walks[i].rows; ++row) {
      const VivaceDeviceLaw& law = run.walks[i].laws[row];
      ++counts.nodes;
      counts.weights += law.laws == nullptr ? law.count : 0;
      counts.drawn += law.drawn_count;
    }
  counts.walks = counts.residuals = run.walk_count;
}

// Fills the walks' places here; addresses in it are those on the card.
void fill_walks(const VivaceDeviceRun& run, const Given& here, const Given& card) {
  int32_t nodes = 0, drawn = 0;
  int64_t weights = 0;
  for (int32_t i = 0; i < run.walk_count; ++i) {
    const VivaceDeviceWalk& walk = run.walks[i];
    here.walks[i] = {walk.cycle, walk.first, walk.second, walk.output, walk.rows, nodes, walk.replacement, walk.rule};
    for (int32_t row = 0; row < walk.rows; ++row, ++nodes) {
      const VivaceDeviceLaw& law = walk.laws[row];
      CardLaw place;
      if (law.laws != nullptr) {
        place = store_of(law.laws).find(law.node);
      } else if (law.count > 0) {
        place = {card.law_heads + nodes, card.law_ids + weights, card.law_weights + weights};
        here.law_heads[nodes] = {law.total, law.count, 0};
        std::copy_n(law.ids, law.count, here.law_ids + weights);
        std::copy_n(law.weights, law.count, here.law_weights + weights);
        weights += law.count;
      }
      here.nodes[nodes] = {place, walk.parents[row], walk.tokens[row], drawn, law.drawn_count};
      std::copy_n(law.drawn, law.drawn_count, here.drawn + drawn);
      drawn += law.drawn_count;
    }
  }
}

// The places of the memory that kernels have for themselves; gives how many bytes that is.
int64_t divide_room(std::byte* base, const Counts& counts, SampleRun& sample, double*& residuals) {
  const int64_t rows = sample.rows, vocab = sample.vocab, blocks = sample_blocks_of(sample.vocab);
  Divider divider(base);
  SampleRoom& room = sample.room;
  room.parts = divider.take<GreedyPart>(rows * greedy_parts_of(sample.vocab));
  if (sample.adjusts) {
    room.again = divider.take<GreedyChoice>(rows);
    room.totals = divider.take<double>(rows);
  }
  if (sample.draws_random) {
    room.maxima = divider.take<float>(rows * blocks);
    room.sums = divider.take<float>(rows * blocks);
  }
  room.weights = divider.take<float>(counts.rooms * vocab);
  room.scores = divider.take<float>(counts.rooms * vocab);
  room.ids = divider.take<int32_t>(counts.rooms * vocab);
  room.counts = divider.take<int32_t>(counts.rooms);
  room.words = divider.take<unsigned long long>(counts.rooms * select_words);
  room.top_words = divider.take<unsigned long long>(counts.reports * select_words);
  room.top_keys = divider.take<unsigned long long>(counts.tops);
  residuals = divider.take<double>(counts.residuals * vocab);
  return divider.used();
}

}  // namespace

void Draws::grow(DeviceBuffer& buffer, int64_t bytes, Stream& stream) {
  if (bytes <= buffer.size()) return;
  stream.wait();  // kernels of the last run may use what was there
  buffer.reserve(bytes + bytes / 2);
}

// The rows, the walks and their lists, in one copy. Kernels get memory for what they make of them.
void Draws::send(const VivaceDeviceRun& run, SampleRun& sample, VerifyLists& walks, double*& residuals, DrawSlot& slot,
                 Stream& stream) {
  Counts counts;
  const std::vector<DrawRow> rows = rows_of(run, sample, counts);
  count(run, counts);
  const int64_t bytes = Given(nullptr, counts).bytes;
  slot.given.reserve(bytes);
  grow(given_, bytes, stream);
  const Given host(slot.given.data(), counts), card(given_.data(), counts);
  slot.tops.assign(rows.size(), -1);
  for (size_t i = 0; i < rows.size(); ++i) {
    const VivaceDeviceDraw& draw = run.draws[i];
    const DrawRow& row = rows[i];
    host.rows[i] = row;
    std::copy_n(draw.bias_tokens, row.bias_count, host.bias_tokens + row.bias_begin);
    std::copy_n(draw.biases, row.bias_count, host.biases + row.bias_begin);
    std::copy_n(draw.seen, row.seen_count, host.seen + row.seen_begin);
    std::copy_n(draw.times, row.seen_count, host.times + row.seen_begin);
    if (row.top_count + row.children > 0) slot.tops[i] = row.top_begin;
  }
  fill_walks(run, host, card);
  stream.copy_to_device(given_.data(), slot.given.data(), bytes);
  sample.draws = card.rows;
  sample.lists.bias_tokens = card.bias_tokens;
  sample.lists.biases = card.biases;
  sample.lists.seen = card.seen;
  sample.lists.times = card.times;
  walks = {card.walks, card.nodes, card.drawn};
  Divider old(nullptr);
  old.take<float>(counts.biases);
  old.take<float>(counts.seen);
  grow(old_, old.used(), stream);
  Divider place(old_.data());
  sample.lists.old_biased = place.take<float>(counts.biases);
  sample.lists.old_seen = place.take<float>(counts.seen);
  grow(room_, divide_room(nullptr, counts, sample, residuals), stream);
  divide_room(room_.data(), counts, sample, residuals);
  const int64_t choices = choice_bytes(run.outputs), tops = counts.tops * static_cast<int64_t>(sizeof(TopToken));
  grow(choices_, choices + tops, stream);
  sample.choices = reinterpret_cast<GreedyChoice*>(choices_.data());
  sample.tops = reinterpret_cast<TopToken*>(choices_.data() + choices);
  slot.received = choices + tops;
}

void Draws::start(const VivaceDeviceRun& run, float* logits, int vocab, DrawSlot& slot, Stream& stream) {
  const auto outputs = static_cast<int>(run.outputs);
  slot.vocab = vocab;
  slot.places.assign(static_cast<size_t>(outputs), -1);
  slot.tops.assign(static_cast<size_t>(outputs), -1);
  int64_t wanted = 0, here = 0;
  for (int i = 0; i < outputs; ++i) {
    if (run.draws[i].how == VIVACE_DRAW_HOST) slot.places[static_cast<size_t>(i)] = wanted++;
    here += run.draws[i].how == VIVACE_DRAW_HERE ? 1 : 0;
  }
  const int64_t row_bytes = int64_t{vocab} * static_cast<int64_t>(sizeof(float));
  slot.rows.reserve(wanted * row_bytes);
  for (int i = 0; i < outputs; ++i) {
    const int64_t place = slot.places[static_cast<size_t>(i)];
    if (place >= 0) stream.copy_to_host(slot.rows.data() + place * row_bytes, logits + int64_t{i} * vocab, row_bytes);
  }
  slot.received = 0;
  if (here == 0) return;
  SampleRun sample;
  sample.logits = logits;
  sample.stride = vocab;
  sample.rows = outputs;
  sample.vocab = vocab;
  VerifyLists walks;
  double* residuals = nullptr;
  send(run, sample, walks, residuals, slot, stream);
  choose_tokens(sample, stream.get());
  if (run.walk_count > 0) {
    int blocks = 0;
    for (int32_t i = 0; i < run.walk_count; ++i) blocks += run.walks[i].rule == rule_block ? 1 : 0;
    verify_walks(sample, walks, run.walk_count, blocks > 0, blocks < run.walk_count, residuals, stream.get());
  }
  slot.choices.reserve(slot.received);
  stream.copy_to_host(slot.choices.data(), choices_.data(), slot.received);
}

void Draws::finish(const DrawSlot& slot, VivaceDeviceChoice* choices) {
  const auto* chosen = reinterpret_cast<const GreedyChoice*>(slot.choices.data());
  const auto outputs = static_cast<int64_t>(slot.places.size());
  auto* rows = reinterpret_cast<float*>(slot.rows.data());
  for (size_t i = 0; i < slot.places.size(); ++i) {
    const int64_t place = slot.places[i];
    choices[i] = {-1, 0, 0, nullptr, nullptr};
    if (place >= 0) {
      choices[i].logits = rows + place * slot.vocab;
    } else if (slot.received > 0) {
      choices[i].token = chosen[i].token;
      choices[i].logprob = chosen[i].logprob;
      choices[i].error = chosen[i].error;
      const auto* tops = reinterpret_cast<const VivaceDeviceTop*>(slot.choices.data() + choice_bytes(outputs));
      if (slot.tops[i] >= 0) choices[i].top = tops + slot.tops[i];
    }
  }
}

}  // namespace vivace::cuda
