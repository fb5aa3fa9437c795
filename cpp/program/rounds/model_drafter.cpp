#include "program/rounds/model_drafter.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "program/batch.h"

namespace vivace {

// Somebody's draft in the making.
struct ModelDrafter::Seat {
  ModelDrafter* drafter;
  Draft* out;
  DraftSize size;
  double score = 1;   // of the chain so far
  size_t output = 0;  // of the last run
};

// One run of the program, or of what goes on with its rows.
struct ModelDrafter::Step {
  explicit Step(const ModelDrafterOptions& options) : options(options) { draws.logits = options.logits; }
  void clear() {
    rows.clear();
    draws.samplers.clear();
    draws.drafts.clear();
    draws.trees.clear();
    read.clear();
  }
  // The tokens of somebody's text that are not read, and what they read beside them; the last one is an output.
  void add_text(const ModelDrafter& own, size_t first, size_t count) {
    rows.add_chain(own.options_.sequence, own.cells_, own.pending_.data() + first, count);
    const auto width = static_cast<ptrdiff_t>(own.options_.head.width);
    const auto begin = own.features_.begin() + static_cast<ptrdiff_t>(first) * width;
    if (own.is_head()) read.insert(read.end(), begin, begin + static_cast<ptrdiff_t>(count) * width);
  }
  // A drafted token behind output `before` of the last run.
  void add_next(int32_t sequence, int64_t cell, int32_t token, size_t before) {
    rows.add_chain(sequence, cell, &token, 1);
    const size_t width = left_width();
    if (options.head.link.feeds())
      read.insert(read.end(), left.begin() + static_cast<ptrdiff_t>(before * width),
                  left.begin() + static_cast<ptrdiff_t>((before + 1) * width));
  }
  void run(bool first) {
    const HeadOptions& head = options.head;
    ExecutableState& state = first || !head.fed ? *options.state : *head.fed;
    draws.clear();
    batch = rows.show();
    bindings.clear();
    state.bind_batch(batch, bindings);
    if (head.features >= 0)
      bindings.push_back({first ? head.features : head.link.input, reinterpret_cast<std::byte*>(read.data())});
    if (head.link.feeds() && batch.outputs > 0) {
      left.resize(static_cast<size_t>(batch.outputs) * left_width());
      bindings.push_back({head.link.output, reinterpret_cast<std::byte*>(left.data())});
    }
    std::lock_guard turn(*state.running);
    state.executable->run(batch.rows, batch.outputs, bindings, &batch, options.kv.get(),
                          batch.outputs > 0 ? &draws : nullptr);
  }
  size_t left_width() const {
    if (!options.head.link.feeds()) return 0;
    const Program& program = options.state->executable->program();
    return static_cast<size_t>(program.values[static_cast<size_t>(options.head.link.output)].columns);
  }
  const ModelDrafterOptions& options;
  BatchRows rows;
  std::vector<float> read, left;  // by rows, by outputs
  Draws draws;
  Batch batch;
  std::vector<RunBinding> bindings;
};

void ModelDrafter::accept(const int32_t* tokens, int64_t count) {
  study_.said(tokens, count);
  if (!chain_.empty()) options_.sampler->retract(chain_.data(), static_cast<int64_t>(chain_.size()));
  // The last token is always left to be read: what follows it is not known yet.
  int64_t kept = 0;
  if (!is_head()) kept = tree_.tokens.empty() ? keep_chain(tokens, count - 1) : keep_tree(tokens, count - 1);
  cells_ += kept;
  text_ += count;
  chain_.clear();
  tree_.clear();
  append_text(pending_, tokens + kept, count - kept);
  // A head knows nothing of rows that were computed before it was there.
  const auto heard = static_cast<int64_t>(is_head() ? features_.size() : 0) / std::max(width(), int64_t{1});
  const auto unheard = static_cast<int64_t>(pending_.size()) - heard;
  if (heard > 0 && unheard > 0) pending_.erase(pending_.begin(), pending_.begin() + unheard);
  options_.sampler->accept(tokens, count);
}

void ModelDrafter::hear(const float* features, int64_t rows) {
  features_.insert(features_.end(), features, features + rows * width());
}

bool ModelDrafter::can_begin() const {
  const bool is_heard = !is_head() || features_.size() == pending_.size() * static_cast<size_t>(width());
  return chain_.empty() && tree_.tokens.empty() && !pending_.empty() && is_heard && known() <= end_;
}

int64_t ModelDrafter::keep_chain(const int32_t* tokens, int64_t count) {
  const int64_t most = std::min(count, static_cast<int64_t>(chain_.size()) - 1);
  int64_t kept = 0;
  while (kept < most && tokens[kept] == chain_[static_cast<size_t>(kept)]) ++kept;
  return kept;
}

int64_t ModelDrafter::keep_tree(const int32_t* tokens, int64_t count) {
  std::vector<int32_t> cells;
  int node = -1;
  for (int64_t i = 0; i < count; ++i) {
    int child = 0;
    while (child < tree_.size() &&
           (tree_.parents[static_cast<size_t>(child)] != node || tree_.tokens[static_cast<size_t>(child)] != tokens[i]))
      ++child;
    if (child == tree_.size() || tree_rows_[static_cast<size_t>(child)] < 0) break;
    cells.push_back(tree_rows_[static_cast<size_t>(child)]);
    node = child;
  }
  options_.kv->move(options_.sequence, static_cast<int>(cells_), cells.data(), static_cast<int>(cells.size()));
  return static_cast<int64_t>(cells.size());
}

TreeShape DrawnShapes::of(DraftSize size) const {
  TreeShape shape = grown;
  shape.depth = size.tokens;
  shape.nodes = size.nodes;
  if (fixed.empty()) return shape;
  for (const TreeShape& one : fixed)
    if (one.nodes <= size.nodes) shape = one;
  // No deeper than it may be.
  std::vector<int32_t> places(shape.parents.size(), -1), depths(shape.parents.size(), 0), parents;
  std::vector<float> scores;
  for (size_t i = 0; i < shape.parents.size(); ++i) {
    const auto above = static_cast<size_t>(shape.parents[i]);
    depths[i] = shape.parents[i] < 0 ? 1 : depths[above] + 1;
    if (depths[i] > size.tokens) continue;
    places[i] = static_cast<int32_t>(parents.size());
    parents.push_back(shape.parents[i] < 0 ? -1 : places[above]);
    if (!shape.scores.empty()) scores.push_back(shape.scores[i]);
  }
  shape.parents = std::move(parents);
  shape.scores = std::move(scores);
  return shape;
}

// Behind the text.
int64_t ModelDrafter::cells_for(DraftSize size) const {
  if (!size.is_tree()) return size.tokens - 1;
  const int64_t rows =
      options_.proposal != nullptr ? size.nodes : (size.tokens - int64_t{1}) * options_.shapes.grown.width;
  return std::min(rows, LevelBatch::most_cells);
}

bool ModelDrafter::fits(DraftSize size) const {
  return text_ >= options_.context || known() + cells_for(size) <= end_;  // beyond the context there is no draft
}

void ModelDrafter::prepare(int64_t tokens, DraftSize most) {
  PagedKv& kv = *options_.kv;
  const int64_t length = kv.length(options_.sequence);
  if (length < cells_) {
    kv.commit(options_.sequence, static_cast<int>(cells_ - length));
  } else {  // somebody had it read more
    pending_.erase(pending_.begin(), pending_.begin() + (length - cells_));
    cells_ = length;
  }
  if (text_ >= options_.context) return;
  const int64_t wanted = static_cast<int64_t>(pending_.size()) + std::max(most.tokens, 1);
  kv.reserve(options_.sequence, static_cast<int>(wanted));
  kv.reserve_ahead(options_.sequence, static_cast<int>(wanted + tokens + cells_for(most)));
  end_ = kv.reserved(options_.sequence);
}

void ModelDrafter::draft(int max_tokens, int max_nodes, Draft& out) {
  std::vector<DraftAsk> alone = {{this, {max_tokens, max_nodes}, &out}};
  draft_together(alone);
}

void ModelDrafter::draft_together(std::vector<DraftAsk>& asks) {
  std::vector<Seat> chains, trees;
  for (DraftAsk& ask : asks) {
    auto* own = static_cast<ModelDrafter*>(ask.drafter);
    ask.out->clear();
    if (own->options_.proposal != nullptr) own->options_.proposal->nodes.clear();
    const int64_t left = own->options_.context - own->text_;
    DraftSize size = ask.most;
    size.tokens = static_cast<int>(std::min<int64_t>(size.tokens, left));
    if (!ask.most.is_tree()) size.nodes = size.tokens;
    if (size.tokens < 1 || !own->can_begin()) continue;
    if (own->options_.studies && size.is_tree() && own->options_.shapes.of(size).parents.empty())
      continue;  // nothing was ever kept
    own->read_most();
    (size.is_tree() ? trees : chains).push_back({own, ask.out, size});
  }
  if (!chains.empty()) draft_chains(std::move(chains));
  if (!trees.empty()) draft_trees(trees);
}

void ModelDrafter::has_read() {
  cells_ = known();
  pending_.clear();
  features_.clear();
}

// All of a long text but its end, some rows at a time.
void ModelDrafter::read_most() {
  constexpr size_t most_pending = 128;
  size_t first = 0;
  const int64_t before = cells_;
  Step run(options_);
  for (; pending_.size() - first > most_pending; first += most_pending) {
    run.clear();
    run.add_text(*this, first, most_pending);
    run.rows.output_rows.clear();
    run.run(true);
    cells_ = before + static_cast<int64_t>(first + most_pending);
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(first));
  if (is_head()) features_.erase(features_.begin(), features_.begin() + static_cast<ptrdiff_t>(first) * width());
}

void ModelDrafter::draft_chains(std::vector<Seat> seats) {
  Step run(options_);
  for (Seat& seat : seats)  // as many as there is memory for
    seat.size.tokens =
        static_cast<int>(std::min<int64_t>(seat.size.tokens, seat.drafter->end_ - seat.drafter->known() + 1));
  for (uint64_t step = 0; !seats.empty(); ++step) {
    run.clear();
    for (const Seat& seat : seats) {
      ModelDrafter& own = *seat.drafter;
      const int64_t cell = own.cells_ + static_cast<int64_t>(own.chain_.size()) - 1;
      if (step == 0)
        run.add_text(own, 0, own.pending_.size());
      else
        run.add_next(own.options_.sequence, cell, own.chain_.back(), seat.output);
      run.draws.samplers.push_back(own.options_.sampler);
      run.draws.drafts.push_back({own.options_.proposal, own.terms_.cycle, step});
    }
    run.run(step == 0);
    std::vector<Seat> going;
    for (size_t i = 0; i < seats.size(); ++i) {
      Seat seat = seats[i];
      seat.output = i;
      ModelDrafter& own = *seat.drafter;
      if (step == 0) own.has_read();
      const SampleResult& drawn = run.draws.drawn.results[i];
      if (drawn.error != SampleError::none) continue;
      const double probability = std::exp(static_cast<double>(drawn.logprob));
      seat.score *= probability;
      own.chain_.push_back(drawn.token);
      seat.out->add(drawn.token, seat.out->size() - 1, seat.score);
      if (static_cast<int>(own.chain_.size()) < seat.size.tokens &&
          probability >= static_cast<double>(own.options_.least))
        going.push_back(seat);
    }
    seats = std::move(going);
  }
}

void ModelDrafter::draft_trees(const std::vector<Seat>& seats) {
  const auto begin = DraftStudy::Clock::now();
  Step run(options_);
  std::vector<std::unique_ptr<GrowingTree>> trees;
  std::vector<int64_t> cells;
  for (const Seat& seat : seats) {
    ModelDrafter& own = *seat.drafter;
    const ModelDrafterOptions& given = own.options_;
    run.add_text(own, 0, own.pending_.size());
    trees.push_back(
        std::make_unique<GrowingTree>(given.shapes.of(seat.size), given.sampler, given.proposal, own.terms_.cycle));
    run.draws.samplers.push_back(nullptr);
    run.draws.trees.push_back({trees.back().get(), static_cast<int64_t>(cells.size())});
    cells.push_back(own.end_ - own.known());
  }
  run.run(true);
  for (const Seat& seat : seats) seat.drafter->has_read();
  const HeadOptions& head = options_.head;
  grow_trees(
      head.fed ? *head.fed : *options_.state, options_.kv.get(), run.batch, options_.logits, run.draws.trees,
      [&](int64_t output) { return cells[static_cast<size_t>(output)]; }, head.link, std::move(run.left));
  for (size_t i = 0; i < seats.size(); ++i) {
    ModelDrafter& own = *seats[i].drafter;
    if (trees[i]->error() != SampleError::none) continue;
    trees[i]->finish(own.tree_, own.tree_rows_);
    *seats[i].out = own.tree_;
    if (own.options_.studies) own.study_.drafted(own.tree_, begin);
  }
}

void ModelDrafter::truncate(int64_t) {
  throw Error("INTERNAL", "A model's drafter serves one generation, whose text is never cut");
}

std::unique_ptr<Drafter> ModelDrafter::fork() const {
  throw Error("INTERNAL", "A model's drafter serves one generation");
}

}  // namespace vivace
