#include "cuda/decode/verify/walk_lists.h"

#include <algorithm>
#include <vector>

#include "cuda/decode/verify/law_store.h"

namespace vivace::cuda {
namespace {

// Fills the lists walk by walk.
class Filler {
 public:
  Filler(const WalkPlaces& here, const WalkPlaces& card) : here_(here), card_(card) {}

  void add(const VivaceDeviceWalk& walk) {
    VerifyWalk& own = here_.walks[walks_++];
    own = {walk.cycle,       walk.first, walk.second, walk.output, walk.rows, static_cast<int32_t>(nodes_),
           walk.replacement, walk.rule};
    own.corrects = walk.corrects;
    own.judged = walk.judge.weights != nullptr ? 1 : 0;
    own.longest = walk.judge.longest;
    own.bound = walk.judge.bound;
    for (int32_t row = 0; row < walk.rows; ++row) {
      const VivaceDeviceLaw& law = walk.laws[row];
      VerifyNode& node = here_.nodes[nodes_ + row];
      node = {place_of(law, nodes_ + row), walk.parents[row], walk.tokens[row], static_cast<int32_t>(drawn_),
              law.drawn_count};
      node.mix = -1;
      drawn_ = std::copy_n(law.drawn, law.drawn_count, here_.drawn + drawn_) - here_.drawn;
    }
    add_readings(walk);
    nodes_ += walk.rows;
  }

  // Of the walk that was added last.
  void add_judge(const VivaceDeviceWalk& walk, const float* hidden, int64_t stride) {
    JudgeRow* rows = here_.judged + nodes_ - walk.rows;
    const VivaceDeviceJudge& judge = walk.judge;
    if (judge.weights != nullptr) std::copy_n(judge.weights, judge.width, here_.heads + heads_);
    for (int32_t row = 0; row < walk.rows; ++row)
      rows[row] = judge.weights == nullptr ? JudgeRow{}
                                           : JudgeRow{hidden + row * stride, card_.heads + heads_, judge.width,
                                                      judge.bias, judge.guarded[row]};
    if (judge.weights != nullptr) heads_ += judge.width;
  }

 private:
  CardLaw place_of(const VivaceDeviceLaw& law, int64_t node) {
    if (law.laws != nullptr) return static_cast<LawStore*>(const_cast<void*>(law.laws))->find(law.node);
    if (law.count == 0) return {};
    const CardLaw place = {card_.law_heads + node, card_.law_ids + weights_, card_.law_weights + weights_};
    here_.law_heads[node] = {law.total, law.count, 0};
    std::copy_n(law.ids, law.count, here_.law_ids + weights_);
    std::copy_n(law.weights, law.count, here_.law_weights + weights_);
    weights_ += law.count;
    return place;
  }

  // Second readings by the row that they belong to.
  void add_readings(const VivaceDeviceWalk& walk) {
    for (int32_t row = 0; row < walk.rows; ++row) {
      MixRow mix = {walk.output + row, static_cast<int32_t>(readings_), 0, static_cast<float>(walk.alpha),
                    static_cast<float>(1 - walk.alpha)};
      for (int32_t i = 0; i < walk.reading_count; ++i)
        if (walk.readings[i] == row) here_.readings[readings_ + mix.count++] = walk.output + walk.rows + i;
      if (mix.count == 0) continue;
      readings_ += mix.count;
      here_.nodes[nodes_ + row].mix = static_cast<int32_t>(mixes_);
      here_.mixes[mixes_++] = mix;
    }
  }

  const WalkPlaces &here_, &card_;
  int64_t walks_ = 0, nodes_ = 0, weights_ = 0, drawn_ = 0, mixes_ = 0, readings_ = 0, heads_ = 0;
};

}  // namespace

WalkCounts::WalkCounts(const VivaceDeviceRun& run) : walks(run.walk_count) {
  bool judges = false;
  for (int32_t i = 0; i < run.walk_count; ++i) {
    const VivaceDeviceWalk& walk = run.walks[i];
    for (int32_t row = 0; row < walk.rows; ++row) {
      weights += walk.laws[row].laws == nullptr ? walk.laws[row].count : 0;
      drawn += walk.laws[row].drawn_count;
    }
    std::vector<int32_t> twice(walk.readings, walk.readings + walk.reading_count);
    std::sort(twice.begin(), twice.end());
    mixes += std::unique(twice.begin(), twice.end()) - twice.begin();
    readings += walk.reading_count;
    nodes += walk.rows;
    blocks += walk.rule == rule_block ? 1 : 0;
    heads += walk.judge.weights != nullptr ? walk.judge.width : 0;
    judges = judges || walk.judge.weights != nullptr;
  }
  judged = judges ? nodes : 0;
}

WalkPlaces::WalkPlaces(Divider& divider, const WalkCounts& counts) {
  walks = divider.take<VerifyWalk>(counts.walks);
  nodes = divider.take<VerifyNode>(counts.nodes);
  law_heads = divider.take<LawHead>(counts.nodes);
  law_ids = divider.take<int32_t>(counts.weights);
  law_weights = divider.take<float>(counts.weights);
  drawn = divider.take<int32_t>(counts.drawn);
  mixes = divider.take<MixRow>(counts.mixes);
  readings = divider.take<int32_t>(counts.readings);
  heads = divider.take<float>(counts.heads);
  judged = divider.take<JudgeRow>(counts.judged);
}

void fill_walks(const VivaceDeviceRun& run, const WalkPlaces& here, const WalkPlaces& card,
                const std::function<const float*(int32_t value, int32_t row)>& hidden_of) {
  Filler filler(here, card);
  bool judges = false;
  for (int32_t i = 0; i < run.walk_count; ++i) judges = judges || run.walks[i].judge.weights != nullptr;
  for (int32_t i = 0; i < run.walk_count; ++i) {
    const VivaceDeviceWalk& walk = run.walks[i];
    const VivaceDeviceJudge& judge = walk.judge;
    filler.add(walk);
    if (!judges) continue;
    const bool own = judge.weights != nullptr;
    const float* hidden = own ? hidden_of(judge.value, judge.first_row) : nullptr;
    filler.add_judge(walk, hidden, own ? hidden_of(judge.value, judge.first_row + 1) - hidden : 0);
  }
}

VerifyLists lists_of(const WalkPlaces& card, const WalkCounts& counts, Divider& room) {
  VerifyLists lists;
  lists.walks = card.walks;
  lists.nodes = card.nodes;
  lists.drawn = card.drawn;
  lists.judged = counts.judged > 0 ? card.judged : nullptr;
  lists.scores = room.take<float>(counts.judged);
  lists.paths = room.take<JudgedPath>(counts.judged);
  lists.node_count = static_cast<int>(counts.nodes);
  return lists;
}

MixLists mixes_of(const WalkPlaces& card, const WalkCounts& counts, Divider& room) {
  return {card.mixes, card.readings, room.take<int32_t>(counts.mixes), static_cast<int>(counts.mixes)};
}

}  // namespace vivace::cuda
