#include "cuda/decode/draws.h"

#include <algorithm>
#include <cstring>

namespace vivace::cuda {
namespace {

int64_t aligned(int64_t bytes) {
  return (bytes + 255) / 256 * 256;
}

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
  int64_t bytes;
};

// The rows of all walks; says where the lists of their laws begin, and counts them.
std::vector<VerifyNode> nodes_of(const VivaceDeviceRun& run, std::vector<VerifyWalk>& walks, Counts& counts) {
  std::vector<VerifyNode> nodes;
  for (int32_t i = 0; i < run.walk_count; ++i) {
    const VivaceDeviceWalk& walk = run.walks[i];
    walks.push_back({walk.cycle, walk.output, walk.rows, static_cast<int32_t>(nodes.size()), walk.replacement});
    for (int32_t row = 0; row < walk.rows; ++row) {
      const VivaceDeviceLaw& law = walk.laws[row];
      nodes.push_back({law.total, walk.parents[row], walk.tokens[row], static_cast<int32_t>(counts.weights), law.count,
                       static_cast<int32_t>(counts.drawn), law.drawn_count});
      counts.weights += law.count;
      counts.drawn += law.drawn_count;
    }
  }
  counts.walks = run.walk_count;
  counts.nodes = static_cast<int64_t>(nodes.size());
  return nodes;
}

}  // namespace

void Draws::grow(DeviceBuffer& buffer, int64_t bytes, Stream& stream) {
  if (bytes <= buffer.size()) return;
  stream.wait();  // kernels of the last run may use what was there
  buffer.reserve(bytes + bytes / 2);
}

// The rows, the walks and their lists, in one copy.
void Draws::send(const VivaceDeviceRun& run, SampleRun& sample, VerifyLists& walks, int& rooms, DrawSlot& slot,
                 Stream& stream) {
  std::vector<DrawRow> rows;
  Counts counts;
  counts.rows = run.outputs;
  for (int64_t i = 0; i < run.outputs; ++i) {
    DrawRow row = row_of(run.draws[i], sample.vocab);
    if (truncates(row)) row.room = rooms++;
    row.bias_begin = static_cast<int32_t>(counts.biases);
    row.seen_begin = static_cast<int32_t>(counts.seen);
    counts.biases += row.bias_count;
    counts.seen += row.seen_count;
    sample.adjusts = sample.adjusts || (row.flags & draw_adjusted) != 0;
    sample.draws_random = sample.draws_random || (row.flags & draw_random) != 0;
    rows.push_back(row);
  }
  std::vector<VerifyWalk> given_walks;
  const std::vector<VerifyNode> nodes = nodes_of(run, given_walks, counts);
  const int64_t bytes = Given(nullptr, counts).bytes;
  slot.given.reserve(bytes);
  const Given host(slot.given.data(), counts);
  std::copy(rows.begin(), rows.end(), host.rows);
  for (int64_t i = 0; i < run.outputs; ++i) {
    const VivaceDeviceDraw& draw = run.draws[i];
    const DrawRow& row = rows[static_cast<size_t>(i)];
    std::copy_n(draw.bias_tokens, row.bias_count, host.bias_tokens + row.bias_begin);
    std::copy_n(draw.biases, row.bias_count, host.biases + row.bias_begin);
    std::copy_n(draw.seen, row.seen_count, host.seen + row.seen_begin);
    std::copy_n(draw.times, row.seen_count, host.times + row.seen_begin);
  }
  std::copy(given_walks.begin(), given_walks.end(), host.walks);
  std::copy(nodes.begin(), nodes.end(), host.nodes);
  for (int32_t i = 0; i < run.walk_count; ++i)
    for (int32_t k = 0; k < run.walks[i].rows; ++k) {
      const VivaceDeviceLaw& law = run.walks[i].laws[k];
      const VerifyNode& node = nodes[static_cast<size_t>(given_walks[static_cast<size_t>(i)].node_begin + k)];
      std::copy_n(law.ids, law.count, host.law_ids + node.law_begin);
      std::copy_n(law.weights, law.count, host.law_weights + node.law_begin);
      std::copy_n(law.drawn, law.drawn_count, host.drawn + node.drawn_begin);
    }
  grow(given_, bytes, stream);
  const Given card(given_.data(), counts);
  sample.draws = card.rows;
  sample.lists.bias_tokens = card.bias_tokens;
  sample.lists.biases = card.biases;
  sample.lists.seen = card.seen;
  sample.lists.times = card.times;
  walks = {card.walks, card.nodes, card.law_ids, card.law_weights, card.drawn};
  stream.copy_to_device(given_.data(), slot.given.data(), bytes);
  Divider old(nullptr);
  old.take<float>(counts.biases);
  old.take<float>(counts.seen);
  grow(old_, old.used(), stream);
  Divider place(old_.data());
  sample.lists.old_biased = place.take<float>(counts.biases);
  sample.lists.old_seen = place.take<float>(counts.seen);
}

double* Draws::divide_room(SampleRun& sample, int rooms, int walks, Stream& stream) {
  double* residuals = nullptr;
  const auto divide = [&](std::byte* base) {
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
    room.weights = divider.take<float>(rooms * vocab);
    room.scores = divider.take<float>(rooms * vocab);
    room.ids = divider.take<int32_t>(rooms * vocab);
    room.counts = divider.take<int32_t>(rooms);
    room.words = divider.take<unsigned long long>(int64_t{rooms} * select_words);
    residuals = divider.take<double>(walks * vocab);
    return divider.used();
  };
  grow(room_, divide(nullptr), stream);
  divide(room_.data());
  return residuals;
}

void Draws::start(const VivaceDeviceRun& run, float* logits, int vocab, DrawSlot& slot, Stream& stream) {
  const auto outputs = static_cast<int>(run.outputs);
  slot.vocab = vocab;
  slot.places.assign(static_cast<size_t>(outputs), -1);
  const int64_t choices = std::max(1, outputs) * static_cast<int64_t>(sizeof(GreedyChoice));
  slot.choices.reserve(choices);
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
  std::fill_n(reinterpret_cast<GreedyChoice*>(slot.choices.data()), std::max(1, outputs), GreedyChoice{-1, 0, 0});
  if (here == 0) return;
  grow(choices_, choices, stream);
  SampleRun sample;
  sample.logits = logits;
  sample.stride = vocab;
  sample.rows = outputs;
  sample.vocab = vocab;
  sample.choices = reinterpret_cast<GreedyChoice*>(choices_.data());
  VerifyLists walks;
  int rooms = 0;
  send(run, sample, walks, rooms, slot, stream);
  double* residuals = divide_room(sample, rooms, run.walk_count, stream);
  choose_tokens(sample, stream.get());
  if (run.walk_count > 0) verify_walks(sample, walks, run.walk_count, residuals, stream.get());
  stream.copy_to_host(slot.choices.data(), choices_.data(), choices);
}

void Draws::finish(const DrawSlot& slot, VivaceDeviceChoice* choices) {
  const auto* chosen = reinterpret_cast<const GreedyChoice*>(slot.choices.data());
  auto* rows = reinterpret_cast<float*>(slot.rows.data());
  for (size_t i = 0; i < slot.places.size(); ++i) {
    const int64_t place = slot.places[i];
    if (place >= 0)
      choices[i] = {-1, 0, 0, rows + place * slot.vocab};
    else
      choices[i] = {chosen[i].token, chosen[i].logprob, chosen[i].error, nullptr};
  }
}

}  // namespace vivace::cuda
