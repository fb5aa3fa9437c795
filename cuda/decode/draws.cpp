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
  if (draw.temperature <= 0) return row;
  row.flags |= draw_random;
  // A temperature so small that its inverse overflows is as good as 1e-30.
  row.scale = static_cast<float>(1 / std::max(draw.temperature, 1e-30));
  row.top_k = draw.top_k > 0 && draw.top_k < row.vocab ? static_cast<int32_t>(draw.top_k) : 0;
  row.top_p = draw.top_p;
  row.min_p = draw.min_p;
  row.typical_p = draw.typical_p;
  row.seed = draw.seed;
  row.index = draw.index;
  return row;
}

bool truncates(const DrawRow& row) {
  return (row.flags & draw_random) != 0 && (row.top_k > 0 || row.top_p < 1 || row.min_p > 0 || row.typical_p < 1);
}

}  // namespace

void Draws::grow(DeviceBuffer& buffer, int64_t bytes, Stream& stream) {
  if (bytes <= buffer.size()) return;
  stream.wait();  // kernels of the last run may use what was there
  buffer.reserve(bytes + bytes / 2);
}

// The rows and their lists, in one copy.
void Draws::send(const VivaceDeviceRun& run, SampleRun& sample, int& rooms, DrawSlot& slot, Stream& stream) {
  std::vector<DrawRow> rows;
  int32_t biases = 0, seen = 0;
  for (int64_t i = 0; i < run.outputs; ++i) {
    DrawRow row = row_of(run.draws[i], sample.vocab);
    if (truncates(row)) row.room = rooms++;
    row.bias_begin = biases;
    row.seen_begin = seen;
    biases += row.bias_count;
    seen += row.seen_count;
    sample.adjusts = sample.adjusts || (row.flags & draw_adjusted) != 0;
    sample.draws_random = sample.draws_random || (row.flags & draw_random) != 0;
    rows.push_back(row);
  }
  const auto divide = [&](std::byte* base, DrawRow*& all, int32_t*& bias_tokens, float*& bias, int32_t*& tokens,
                          uint32_t*& times) {
    Divider divider(base);
    all = divider.take<DrawRow>(run.outputs);
    bias_tokens = divider.take<int32_t>(biases);
    bias = divider.take<float>(biases);
    tokens = divider.take<int32_t>(seen);
    times = divider.take<uint32_t>(seen);
    return divider.used();
  };
  DrawRow* all = nullptr;
  int32_t *bias_tokens = nullptr, *tokens = nullptr;
  float* bias = nullptr;
  uint32_t* times = nullptr;
  const int64_t bytes = divide(nullptr, all, bias_tokens, bias, tokens, times);
  slot.given.reserve(bytes);
  divide(slot.given.data(), all, bias_tokens, bias, tokens, times);
  std::copy(rows.begin(), rows.end(), all);
  for (int64_t i = 0; i < run.outputs; ++i) {
    const VivaceDeviceDraw& draw = run.draws[i];
    const DrawRow& row = rows[static_cast<size_t>(i)];
    std::copy_n(draw.bias_tokens, row.bias_count, bias_tokens + row.bias_begin);
    std::copy_n(draw.biases, row.bias_count, bias + row.bias_begin);
    std::copy_n(draw.seen, row.seen_count, tokens + row.seen_begin);
    std::copy_n(draw.times, row.seen_count, times + row.seen_begin);
  }
  grow(given_, bytes, stream);
  divide(given_.data(), all, bias_tokens, bias, tokens, times);
  sample.draws = all;
  sample.lists.bias_tokens = bias_tokens;
  sample.lists.biases = bias;
  sample.lists.seen = tokens;
  sample.lists.times = times;
  stream.copy_to_device(given_.data(), slot.given.data(), bytes);
  Divider old(nullptr);
  old.take<float>(biases);
  old.take<float>(seen);
  grow(old_, old.used(), stream);
  Divider place(old_.data());
  sample.lists.old_biased = place.take<float>(biases);
  sample.lists.old_seen = place.take<float>(seen);
}

void Draws::divide_room(SampleRun& sample, int rooms, Stream& stream) {
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
    room.words = divider.take<unsigned long long>(int64_t{rooms} * select_words);
    return divider.used();
  };
  grow(room_, divide(nullptr), stream);
  divide(room_.data());
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
  int rooms = 0;
  send(run, sample, rooms, slot, stream);
  divide_room(sample, rooms, stream);
  choose_tokens(sample, stream.get());
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
