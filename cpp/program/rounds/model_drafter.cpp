#include "program/rounds/model_drafter.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "program/batch.h"

namespace vivace {

// The rows of one step: of each sequence its tokens that are not computed yet, the last one an output.
class ModelDrafter::Chains {
 public:
  void clear() {
    for (std::vector<int32_t>* list :
         {&tokens_, &positions_, &sequences_, &cells_, &first_cells_, &visible_, &offsets_, &outputs_})
      list->clear();
  }
  void add(int32_t sequence, int64_t cell, const int32_t* tokens, size_t count) {
    const auto offset = static_cast<int32_t>(tokens_.size());
    for (size_t i = 0; i < count; ++i) {
      const auto own = static_cast<int32_t>(cell + static_cast<int64_t>(i));
      tokens_.push_back(tokens[i]);
      positions_.push_back(own);
      sequences_.push_back(sequence);
      cells_.push_back(own);
      first_cells_.push_back(static_cast<int32_t>(cell));
      visible_.push_back(own + 1);
      offsets_.push_back(offset);
    }
    outputs_.push_back(static_cast<int32_t>(tokens_.size()) - 1);
  }
  Batch batch() const {
    Batch batch;
    batch.rows = static_cast<int64_t>(tokens_.size());
    batch.tokens = tokens_.data();
    batch.positions = batch.added_positions = positions_.data();
    batch.sequences = sequences_.data();
    batch.cells = cells_.data();
    batch.first_cells = first_cells_.data();
    batch.visible = visible_.data();
    batch.added = batch.rows;
    batch.added_offsets = offsets_.data();
    batch.output_rows = outputs_.data();
    batch.outputs = static_cast<int64_t>(outputs_.size());
    return batch;
  }

 private:
  std::vector<int32_t> tokens_, positions_, sequences_, cells_, first_cells_, visible_, offsets_, outputs_;
};

void ModelDrafter::accept(const int32_t* tokens, int64_t count) {
  const auto drafted = static_cast<int64_t>(drafted_.size());
  if (drafted > 0) options_.sampler->retract(drafted_.data(), drafted);
  // The last token is always left to be read: what follows it is not known yet.
  int64_t kept = 0;
  while (kept < std::min(count, drafted) - 1 && tokens[kept] == drafted_[static_cast<size_t>(kept)]) ++kept;
  cells_ += kept;
  drafted_.clear();
  append_text(pending_, tokens + kept, count - kept);
  options_.sampler->accept(tokens, count);
}

int64_t ModelDrafter::room() const {
  if (text() >= options_.context) return most_drafted;  // of which it has none
  return std::max(int64_t{0}, end_ - text() + 1);
}

void ModelDrafter::prepare(int64_t tokens, int most) {
  PagedKv& kv = *options_.kv;
  const int64_t length = kv.length(options_.sequence);
  if (length < cells_) {
    kv.commit(options_.sequence, static_cast<int>(cells_ - length));
  } else {  // somebody had it read more
    pending_.erase(pending_.begin(), pending_.begin() + (length - cells_));
    cells_ = length;
  }
  if (text() >= options_.context) return;
  const auto wanted = static_cast<int64_t>(pending_.size()) + most;
  kv.reserve(options_.sequence, static_cast<int>(wanted));
  kv.reserve_ahead(options_.sequence, static_cast<int>(wanted + tokens));
  end_ = kv.reserved(options_.sequence);
}

void ModelDrafter::draft(int max_tokens, int /*max_nodes*/, Draft& out) {
  std::vector<DraftAsk> alone = {{this, max_tokens, &out}};
  draft_together(alone);
}

void ModelDrafter::draft_together(std::vector<DraftAsk>& asks) {
  struct Seat {
    ModelDrafter* drafter;
    Draft* out;
    size_t steps;
    double score = 1;
  };
  std::vector<Seat> seats;
  for (DraftAsk& ask : asks) {
    auto* own = static_cast<ModelDrafter*>(ask.drafter);
    ask.out->clear();
    const int64_t steps = std::min({int64_t{ask.most}, own->room(), own->options_.context - own->text()});
    if (steps > 0 && !own->pending_.empty() && own->drafted_.empty())
      seats.push_back({own, ask.out, static_cast<size_t>(steps)});
  }
  const ExecutableState& state = *options_.state;
  Chains rows;
  Draws draws;
  draws.logits = options_.logits;
  std::vector<RunBinding> bindings;
  for (const Seat& seat : seats) {
    Proposal* const proposal = seat.drafter->options_.proposal;
    if (proposal != nullptr) proposal->nodes.clear();
  }
  for (uint64_t step = 0; !seats.empty(); ++step) {
    rows.clear();
    draws.samplers.clear();
    draws.drafts.clear();
    for (const Seat& seat : seats) {
      ModelDrafter& own = *seat.drafter;
      if (own.drafted_.empty()) {
        rows.add(own.options_.sequence, own.cells_, own.pending_.data(), own.pending_.size());
      } else {
        const int64_t cell = own.cells_ + static_cast<int64_t>(own.drafted_.size()) - 1;
        rows.add(own.options_.sequence, cell, &own.drafted_.back(), 1);
      }
      draws.samplers.push_back(own.options_.sampler);
      draws.drafts.push_back({own.options_.proposal, own.terms_.cycle, step});
    }
    draws.clear();
    const Batch batch = rows.batch();
    bindings.clear();
    state.bind_batch(batch, bindings);
    {
      std::lock_guard turn(*state.running);
      state.executable->run(batch.rows, batch.outputs, bindings, &batch, options_.kv.get(), &draws);
    }
    std::vector<Seat> going;
    for (size_t i = 0; i < seats.size(); ++i) {
      Seat seat = seats[i];
      ModelDrafter& own = *seat.drafter;
      if (own.drafted_.empty()) {
        own.cells_ += static_cast<int64_t>(own.pending_.size());
        own.pending_.clear();
      }
      const SampleResult& drawn = draws.drawn.results[i];
      if (drawn.error != SampleError::none) continue;
      const double probability = std::exp(static_cast<double>(drawn.logprob));
      seat.score *= probability;
      own.drafted_.push_back(drawn.token);
      seat.out->add(drawn.token, seat.out->size() - 1, seat.score);
      if (own.drafted_.size() < seat.steps && probability >= static_cast<double>(own.options_.least))
        going.push_back(seat);
    }
    seats = std::move(going);
  }
}

void ModelDrafter::truncate(int64_t) {
  throw Error("INTERNAL", "A model's drafter serves one generation, whose text is never cut");
}

std::unique_ptr<Drafter> ModelDrafter::fork() const {
  throw Error("INTERNAL", "A model's drafter serves one generation");
}

}  // namespace vivace
