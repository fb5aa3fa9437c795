#include "cuda/decode/draws.h"

#include <algorithm>
#include <cstring>

#include "cuda/core/divider.h"
#include "cuda/decode/verify/law_store.h"
#include "cuda/decode/verify/walk_lists.h"

namespace vivace::cuda {
namespace {

// Of a run's choices; the most probable tokens follow them.
int64_t choice_bytes(int64_t outputs) {
  return outputs * static_cast<int64_t>(sizeof(GreedyChoice));
}
static_assert(sizeof(TopToken) == sizeof(VivaceDeviceTop));

DrawRow row_of(const VivaceDeviceDraw& draw, int vocab) {
  DrawRow row{};
  row.room = -1;
  if (draw.how != VIVACE_DRAW_HERE) return row;
  row.flags = draw_here;
  row.vocab = std::min(draw.vocab, vocab);
  const bool penalised = draw.repetition_penalty != 1 || draw.presence_penalty != 0 || draw.frequency_penalty != 0;
  if (draw.bias_count > 0 || penalised) row.flags |= draw_adjusted;
  if (draw.allowed != nullptr) row.flags |= draw_adjusted | draw_limited;
  row.repetition = static_cast<float>(draw.repetition_penalty);
  row.presence = draw.presence_penalty;
  row.frequency = draw.frequency_penalty;
  row.bias_count = draw.bias_count;
  row.seen_count = penalised ? draw.seen_count : 0;
  row.seed = draw.seed;
  row.index = draw.index;
  row.lane = draw.lane;
  row.top_count = std::max(0, std::min(draw.top, row.vocab));
  if (draw.ranked != 0 && row.top_count > 0) row.flags |= draw_ranked;
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
  int64_t rows = 0, biases = 0, seen = 0, allowed = 0;
  // Not sent, but made there: rows that truncate, rows that report, what they report.
  int64_t rooms = 0, reports = 0, tops = 0;
};

int64_t words_of(int32_t vocab) {
  return (int64_t{vocab} + 31) / 32;
}

// Their places in one block of memory, here or on the card.
struct Given {
  Given(Divider divider, const Counts& counts, const WalkCounts& of_walks) : walks(divider, of_walks) {
    rows = divider.take<DrawRow>(counts.rows);
    bias_tokens = divider.take<int32_t>(counts.biases);
    biases = divider.take<float>(counts.biases);
    seen = divider.take<int32_t>(counts.seen);
    times = divider.take<uint32_t>(counts.seen);
    allowed = divider.take<uint32_t>(counts.allowed);
    bytes = divider.used();
  }
  WalkPlaces walks;
  DrawRow* rows;
  int32_t *bias_tokens, *seen;
  float* biases;
  uint32_t *times, *allowed;
  int64_t bytes;
};

LawStore& store_of(const void* laws) {
  return *static_cast<LawStore*>(const_cast<void*>(laws));
}

// The rows that are drawn from. Laws are kept where their stores have room for them.
std::vector<DrawRow> rows_of(const VivaceDeviceRun& run, SampleRun& sample, Counts& counts) {
  std::vector<DrawRow> rows;
  counts.rows = sample.rows;
  for (int i = 0; i < sample.rows; ++i) {
    const VivaceDeviceDraw& draw = run.draws[i];
    DrawRow row = row_of(draw, sample.vocab);
    if (truncates(row)) row.room = static_cast<int32_t>(counts.rooms++);
    row.bias_begin = static_cast<int32_t>(counts.biases);
    row.seen_begin = static_cast<int32_t>(counts.seen);
    row.allowed_begin = static_cast<int32_t>(counts.allowed);
    row.top_begin = static_cast<int32_t>(counts.tops);
    if (row.top_count > 0) row.top_room = static_cast<int32_t>(counts.reports++);
    if ((row.flags & draw_here) != 0 && draw.laws != nullptr)
      row.law = store_of(draw.laws).reserve(draw.law_node, row.top_k > 0 ? row.top_k : row.vocab);
    counts.biases += row.bias_count;
    counts.seen += row.seen_count;
    counts.allowed += (row.flags & draw_limited) != 0 ? words_of(row.vocab) : 0;
    counts.tops += row.top_count + row.children;
    sample.adjusts = sample.adjusts || (row.flags & draw_adjusted) != 0;
    sample.draws_random = sample.draws_random || (row.flags & draw_random) != 0;
    sample.limits = sample.limits || (row.flags & draw_limited) != 0;
    const bool ranked = (row.flags & draw_ranked) != 0;
    sample.ranks = sample.ranks || ranked;
    sample.reports = sample.reports || (row.top_count > 0 && !ranked);
    sample.keeps = sample.keeps || row.law.head != nullptr;
    sample.branches = sample.branches || row.children > 0;
    rows.push_back(row);
  }
  return rows;
}

// The places of the memory that kernels have for themselves.
void divide_room(Divider& divider, const Counts& counts, SampleRun& sample) {
  const int64_t rows = sample.rows, vocab = sample.vocab, blocks = sample_blocks_of(sample.vocab);
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
}

}  // namespace

void Draws::grow(DeviceBuffer& buffer, int64_t bytes, Stream& stream) {
  if (bytes <= buffer.size()) return;
  stream.wait();  // kernels of the last run may use what was there
  buffer.reserve(bytes + bytes / 2);
}

// The rows, the walks and their lists, in one copy. Kernels get memory for what they make of them.
void Draws::send(const VivaceDeviceRun& run, const HiddenRows& hidden_of, SampleRun& sample, VerifyLists& walks,
                 double*& residuals, DrawSlot& slot, Stream& stream) {
  Counts counts;
  const std::vector<DrawRow> rows = rows_of(run, sample, counts);
  const WalkCounts of_walks(run);
  const int64_t bytes = Given(Divider(nullptr), counts, of_walks).bytes;
  slot.given.reserve(bytes);
  grow(given_, bytes, stream);
  const Given host(Divider(slot.given.data()), counts, of_walks), card(Divider(given_.data()), counts, of_walks);
  slot.tops.assign(rows.size(), -1);
  for (size_t i = 0; i < rows.size(); ++i) {
    const VivaceDeviceDraw& draw = run.draws[i];
    const DrawRow& row = rows[i];
    host.rows[i] = row;
    std::copy_n(draw.bias_tokens, row.bias_count, host.bias_tokens + row.bias_begin);
    std::copy_n(draw.biases, row.bias_count, host.biases + row.bias_begin);
    std::copy_n(draw.seen, row.seen_count, host.seen + row.seen_begin);
    std::copy_n(draw.times, row.seen_count, host.times + row.seen_begin);
    if ((row.flags & draw_limited) != 0)
      std::copy_n(draw.allowed, words_of(row.vocab), host.allowed + row.allowed_begin);
    if (row.top_count + row.children > 0) slot.tops[i] = row.top_begin;
  }
  fill_walks(run, host.walks, card.walks, hidden_of);
  stream.copy_to_device(given_.data(), slot.given.data(), bytes);
  sample.draws = card.rows;
  sample.lists.bias_tokens = card.bias_tokens;
  sample.lists.biases = card.biases;
  sample.lists.seen = card.seen;
  sample.lists.times = card.times;
  sample.lists.allowed = card.allowed;
  const auto divide_old = [&](Divider divider) {
    sample.lists.old_biased = divider.take<float>(counts.biases);
    sample.lists.old_seen = divider.take<float>(counts.seen);
    return divider.used();
  };
  const auto divide_all = [&](Divider divider) {
    divide_room(divider, counts, sample);
    walks = lists_of(card.walks, of_walks, divider);
    sample.mixes = mixes_of(card.walks, of_walks, divider);
    residuals = divider.take<double>(of_walks.walks * sample.vocab);
    return divider.used();
  };
  grow(old_, divide_old(Divider(nullptr)), stream);
  divide_old(Divider(old_.data()));
  grow(room_, divide_all(Divider(nullptr)), stream);
  divide_all(Divider(room_.data()));
  const int64_t choices = choice_bytes(sample.rows), tops = counts.tops * static_cast<int64_t>(sizeof(TopToken));
  grow(choices_, choices + tops, stream);
  sample.choices = reinterpret_cast<GreedyChoice*>(choices_.data());
  sample.tops = reinterpret_cast<TopToken*>(choices_.data() + choices);
  slot.received = choices + tops;
}

void Draws::start(const VivaceDeviceRun& run, float* logits, int columns, const HiddenRows& hidden_of, DrawSlot& slot,
                  Stream& stream) {
  const int levels = std::max(1, run.levels), vocab = columns / levels;
  const auto outputs = static_cast<int>(run.outputs) * levels;
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
  send(run, hidden_of, sample, walks, residuals, slot, stream);
  choose_tokens(sample, stream.get());
  if (run.walk_count > 0) {
    const int64_t blocks = WalkCounts(run).blocks;
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
    choices[i] = {-1, 0, 0, 0, nullptr, nullptr};
    if (place >= 0) {
      choices[i].logits = rows + place * slot.vocab;
    } else if (slot.received > 0) {
      choices[i].token = chosen[i].token;
      choices[i].logprob = chosen[i].logprob;
      choices[i].error = chosen[i].error;
      choices[i].marks = chosen[i].marks;
      const auto* tops = reinterpret_cast<const VivaceDeviceTop*>(slot.choices.data() + choice_bytes(outputs));
      if (slot.tops[i] >= 0) choices[i].top = tops + slot.tops[i];
    }
  }
}

}  // namespace vivace::cuda
