// One run of an executable: one round, or several that follow from each other.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "caches/paged_kv.h"
#include "decode/draft/adapt/stop_rule.h"
#include "decode/draft/draft_seat.h"
#include "decode/tree/growing_tree.h"
#include "program/rounds/batch_storage.h"
#include "program/rounds/executable_state.h"
#include "program/rounds/grow_trees.h"

namespace vivace {

// A round of a run that goes on by itself.
struct Told {
  Drawn drawn;
  double ms = 0;  // since the end of the round before, or the begin of the run
  // Where sequences had drafts: their outputs, in order; how deep the drafts were, and the rows of their probes, whose
  // outputs nobody hears of; what they hoped for and what it cost; bits of the outputs' rows: 1 it stays, 2 only a
  // judge kept it.
  std::vector<int32_t> rows, depths, probed;
  std::vector<double> hoped, draft_ms;
  std::vector<int32_t> kept;
};

// How long a run goes on by itself: each token that it draws, and what a drafter puts behind it, is the next round's
// row.
struct Ahead {
  const std::atomic<int32_t>* rounds;  // how many may be; JavaScript changes it meanwhile, with Atomics.store
  int most;                            // whatever it says
  std::vector<int32_t> ends;           // nothing follows these tokens
  float least = 0;                     // nor ones with a lower probability, where every sequence has come to one
  StopRule stop;                       // the same in place of `least`, where it is given
  bool quiet = false;                  // JavaScript hears of all rounds at the end
  std::function<void()> tell;          // called, on the run's thread, when a round is over and another one follows
  std::mutex mutex;
  std::vector<Told> told;  // rounds that JavaScript has not heard of
  bool drafts = false;     // some of the sequences have drafters
  bool closed = false;     // nobody listens any more

  bool ends_with(int32_t token) const { return std::find(ends.begin(), ends.end(), token) != ends.end(); }
};

// One run: everything it needs, owned, so that it can happen on another thread.
struct Round {
  std::shared_ptr<ExecutableState> state;
  std::shared_ptr<PagedKv> kv;
  BatchStorage batch;
  bool has_batch = false;
  int64_t rows = 0, outputs = 0;
  std::vector<RunBinding> bindings;
  Draws draws;  // no samplers: none; else their objects are kept alive by the request
  std::shared_ptr<Ahead> ahead;
  FeatureLink link;
  std::shared_ptr<ExecutableState> fed;  // runs what follows the first run; values have the same ids; null: `state`
  std::vector<std::unique_ptr<GrowingTree>> trees;  // those of `draws`

  // Of a run that goes on by itself: its sequences, in the order of their outputs.
  std::vector<DraftSeat> seats;

  void execute() {
    begin_ = Clock::now();
    if (link.feeds()) bind(link.output, fed_[0]);
    draft_first();
    std::unique_lock turn(*state->running, std::defer_lock);
    run(turn);
    if (fed) go_on_with_fed();
    if (!trees.empty()) grow();
    if (!ahead) return;
    last_ = told();
    while (goes_on(++done_)) {
      keep_told();
      follow();
      if (link.feeds()) {
        bind(link.input, fed_[(done_ - 1) % 2]);
        bind(link.output, fed_[done_ % 2]);
      }
      run(turn);
      last_ = told();
    }
    if (queued_) state->executable->drop();
  }

  // The last round, of which nobody has heard.
  Told take_last() { return std::move(last_); }

 private:
  // A draft behind the rows that were given, where it takes runs of a model.
  void draft_first() {
    if (seats.empty() || !seats.front().begins || !draws.walks.empty()) return;
    DraftSeat& seat = seats.front();
    if (batch.room(0, 1) < seat.wanted().nodes) return;
    const int32_t root = batch.batch().output_rows[0];
    seat.said = {batch.batch().tokens[root]};
    std::vector<Branches> branches;
    draft_next(seats, branches);
    Branches& own = branches.front();
    if (own.tokens.size() < 2) return;
    draws.samplers.clear();
    seat.sit(own, draws);
    for (Walk& walk : draws.walks) walk.judge.first_row += root;  // text may lie before it
    draws.clear();
    std::vector<int32_t> parents;
    for (size_t i = 1; i < own.tokens.size(); ++i)
      parents.push_back(own.parents.empty() ? static_cast<int32_t>(i) - 2 : own.parents[i] - 1);
    batch.extend({own.tokens.begin() + 1, own.tokens.end()}, parents);
    outputs = static_cast<int64_t>(own.tokens.size());
    rows = batch.batch().rows;
    bind_taps();
  }

  // One run per level of the trees that the first run began.
  void grow() {
    grow_trees(
        *state, kv.get(), batch.batch(), draws.logits, draws.trees,
        [this](int64_t output) { return batch.cells_behind(output); }, link, std::move(fed_[0]));
  }

  // It shares the lock, and has no memory for what only the first program reads.
  void go_on_with_fed() {
    state = fed;
    std::erase_if(bindings, [this](const RunBinding& binding) {
      const std::vector<int>& inputs = state->inputs;
      return binding.value != link.output && std::find(inputs.begin(), inputs.end(), binding.value) == inputs.end();
    });
  }

  // Memory of a value of the rows of outputs.
  void bind(int value, std::vector<float>& memory) {
    const int64_t columns = state->executable->program().values[static_cast<size_t>(value)].columns;
    memory.resize(static_cast<size_t>(outputs * columns));
    auto* data = reinterpret_cast<std::byte*>(memory.data());
    for (RunBinding& binding : bindings)
      if (binding.value == value) return void(binding.data = data);
    bindings.push_back({value, data});
  }

  void run(std::unique_lock<FairMutex>& turn) {
    if (!turn.owns_lock() && !turn.try_lock()) {
      tell();
      turn.lock();
    }
    // To wake the JavaScript thread takes up to 40 us, and it may take this core for as long as it has work, 200 us:
    // the other members of the team go on meanwhile.
    std::function<void()> tell;
    if (must_tell_) tell = [this] { this->tell(); };
    queued_ = false;
    if (has_batch && batch.layer() >= 0)
      return state->executable->run_part(batch.layer(), batch.carried(), rows, outputs, bindings, batch.batch(), *kv,
                                         draws.samplers.empty() ? nullptr : &draws);
    state->executable->run_on(rows, outputs, bindings, has_batch ? &batch.batch() : nullptr, kv.get(),
                              draws.samplers.empty() ? nullptr : &draws, tell, [this] { return queue(); });
    this->tell();
    if (!queued_) turn.unlock();
  }

  // The round behind the one in progress, where that needs nothing but its tokens (and no values that it feeds). One
  // more than the text needs is computed in vain, so where rounds end with unlikely tokens, as drafts do, each is
  // waited for.
  const Batch* queue() {
    if (!ahead || link.feeds() || ahead->least > 0 || ahead->stop.given() || !draws.walks.empty() ||
        state->running->wanted())
      return nullptr;
    if (!may_follow(done_ + 1)) return nullptr;
    std::vector<NextRows> next(seats.size(), NextRows{1, {-1}, {}, nullptr});
    for (size_t i = 0; i < seats.size(); ++i)
      if (seats[i].drafter || seats[i].left < 2 || batch.room(i, 1) < 1) return nullptr;
    batch.follow(next);
    queued_ = true;
    return &batch.batch();
  }

  void tell() {
    if (must_tell_) ahead->tell();
    must_tell_ = false;
  }

  // Puts the last round where JavaScript finds it, and decides whether to wake it for that.
  void keep_told() {
    const double ms = last_.ms;
    std::lock_guard lock(ahead->mutex);
    if (ahead->told.empty()) {  // it has heard of all others
      is_called_ = false;
      unheard_since_ = begin_;
    }
    ahead->told.push_back(std::move(last_));
    if (is_called_ || ahead->quiet) return;
    // It may hear of this round with the next one, unless that would be late, or would let the run come to its end.
    const double late = std::chrono::duration<double, std::milli>(begin_ - unheard_since_).count() + ms;
    const bool may_wait = done_ > 1 && late <= patience_ms && may_follow(done_ + rounds_kept_free);
    must_tell_ = is_called_ = !may_wait;
  }

  bool may_follow(int done) const {
    return !ahead->closed && done < ahead->most && done < ahead->rounds->load(std::memory_order_acquire);
  }

  bool goes_on(int done) {
    bool goes = true, all_unlikely = ahead->least > 0 || ahead->stop.given();
    const std::vector<SampleResult>& results = last_.drawn.results;
    if (ahead->stop.given()) {
      paths_.resize(results.size());
      stopped_.resize(results.size(), false);
      for (size_t i = 0; i < results.size(); ++i) {
        if (!stopped_[i]) stopped_[i] = ahead->stop.ends(paths_[i], results[i].logprob);
        all_unlikely = all_unlikely && stopped_[i];
      }
    } else {
      for (const SampleResult& result : results) all_unlikely = all_unlikely && std::exp(result.logprob) < ahead->least;
    }
    for (size_t i = 0; i < seats.size(); ++i) {  // all of them, for drafters hear what was said
      goes = seats[i].hear(draws, features_of(i)) && goes;
      for (const int32_t token : seats[i].said) goes = goes && !ahead->ends_with(token);
      if (queued_ || !goes) continue;
      // Where a draft would be smaller than it could be, a run with more memory goes on.
      const int64_t room = batch.room(i, static_cast<int64_t>(seats[i].said.size()));
      goes = room > 0 && seats[i].fits(room - 1) && !seats[i].has_lost();
    }
    return goes && !all_unlikely && may_follow(done);
  }

  void follow() {
    std::vector<NextRows> next(seats.size());
    for (size_t i = 0; i < seats.size(); ++i) next[i].kept = static_cast<int64_t>(seats[i].said.size());
    std::vector<Branches> branches;
    draft_next(seats, branches);
    draws.samplers.clear();
    draws.walks.clear();
    rows = 0;
    for (size_t i = 0; i < seats.size(); ++i) {
      seats[i].sit(branches[i], draws, rows);
      rows += static_cast<int64_t>(branches[i].tokens.size()) + seats[i].probe_rows;
      next[i].tokens = std::move(branches[i].tokens);
      next[i].parents = std::move(branches[i].parents);
      next[i].probe = branches[i].probe;
    }
    outputs = static_cast<int64_t>(draws.samplers.size());
    draws.clear();
    if (!queued_) batch.follow(next);  // else it has
    bind_taps();
  }

  // Memory for values that the run gives of every row, which the first round's caller has beside its own.
  void bind_taps() {
    taps_.resize(bindings.size());
    const Program& program = state->executable->program();
    for (size_t i = 0; i < bindings.size(); ++i) {
      const ValueInfo& value = program.values[static_cast<size_t>(bindings[i].value)];
      if (value.kind == ValueKind::input || value.rows != rows_symbol) continue;
      taps_[i].resize(static_cast<size_t>(rows * value.columns));
      bindings[i].data = reinterpret_cast<std::byte*>(taps_[i].data());
      // Judges on the host read it there.
      for (Walk& walk : draws.walks)
        if (walk.judge.weights != nullptr && walk.judge.value == bindings[i].value)
          walk.judge.hidden = taps_[i].data() + walk.judge.first_row * walk.judge.width;
    }
  }

  // What a sequence's drafter hears of the rows that stay: [rows, columns of all its taps].
  std::vector<float> features_of(size_t seat) const {
    std::vector<float> features;
    if (seats[seat].taps.empty()) return features;
    const Program& program = state->executable->program();
    for (const int32_t row : batch.staying(seat, seats[seat].kept(draws)))
      for (const int tap : seats[seat].taps)
        for (const RunBinding& binding : bindings) {
          if (binding.value != tap) continue;
          const int64_t columns = program.values[static_cast<size_t>(tap)].columns;
          const float* const values = reinterpret_cast<const float*>(binding.data) + row * columns;
          features.insert(features.end(), values, values + columns);
        }
    return features;
  }

  // Of trees, the cells of what stays are put in a row.
  void keep_rows() {
    for (const Walk& walk : draws.walks)
      for (size_t i = 0; i < seats.size(); ++i)
        if (seats[i].output == walk.output) batch.keep(kv.get(), i, walk.kept);
  }

  // What came out of the round, and how long it took.
  Told told() {
    keep_rows();
    Told result;
    const Clock::time_point now = Clock::now();
    result.ms = std::chrono::duration<double, std::milli>(now - begin_).count();
    begin_ = now;
    int64_t own = 0, extra = 0;  // outputs but for those of probes; rows beyond one for each sequence
    for (const DraftSeat& seat : seats) {
      own += seat.rows;
      extra += seat.rows - 1 + seat.probe_rows;
    }
    bool drafted = ahead->drafts && extra > 0;
    for (DraftSeat& seat : seats) {
      seat.took(result.ms, static_cast<size_t>(extra), seat.kept(draws).size());
      drafted = drafted || seat.draft_ms > trifle * result.ms;
    }
    result.drawn = draws.drawn;
    if (own < outputs) drop_probes(result.drawn);
    if (!drafted) return result;
    result.kept.assign(static_cast<size_t>(outputs), 0);
    for (const Walk& walk : draws.walks) {
      for (const int32_t row : walk.kept) result.kept[static_cast<size_t>(walk.output + row)] = 1;
      for (const int32_t row : walk.judged) result.kept[static_cast<size_t>(walk.output + row)] |= 2;
    }
    if (own < outputs) drop_probes(result.kept);
    for (const DraftSeat& seat : seats) {
      result.rows.push_back(static_cast<int32_t>(seat.rows));
      result.depths.push_back(seat.depth);
      result.probed.push_back(static_cast<int32_t>(seat.probe_rows));
      result.hoped.push_back(seat.hoped);
      result.draft_ms.push_back(seat.draft_ms);
    }
    return result;
  }

  // Of lists by output.
  template <class Value>
  void drop_probes(std::vector<Value>& list) const {
    for (auto seat = seats.rbegin(); seat != seats.rend(); ++seat) {
      const auto first = list.begin() + seat->output + seat->rows;
      list.erase(first, first + seat->probes);
    }
  }
  void drop_probes(Drawn& drawn) const {
    drop_probes(drawn.results);
    drop_probes(drawn.top);
  }

  // How late JavaScript may hear of a round: a screen shows 60 pictures a second. Each call wakes a thread (up to 40 us
  // of this one's time), which then takes a core for up to 0.3 ms.
  static constexpr double patience_ms = 16;
  static constexpr int rounds_kept_free = 4;  // of those that JavaScript allows, while it is called and reacts
  static constexpr double trifle =
      0.02;  // of a round: JavaScript needs not hear what a draft took that came to nothing
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_;
  Told last_;
  std::vector<StopPath> paths_;  // of sequences that draft until the rule ends all of them
  std::vector<bool> stopped_;
  int done_ = 0;                          // rounds that are over
  bool must_tell_ = false;                // JavaScript has to be called
  bool is_called_ = false;                // it has been, and has not come yet
  Clock::time_point unheard_since_;       // end of the first round that it does not know of
  bool queued_ = false;                   // the next round is on its way
  std::vector<std::vector<float>> taps_;  // by binding
  std::vector<float> fed_[2];             // what rows leave to those behind them, and what these read
};

}  // namespace vivace
