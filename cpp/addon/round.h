// What an executable keeps besides its program, and one run of it: one round, or several that follow from each other.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "caches/paged_kv.h"
#include "core/fair_mutex.h"
#include "core/memory/arena.h"
#include "core/memory/mapping.h"
#include "program/batch_storage.h"
#include "program/runner.h"

namespace vivace {

struct ExecutableState {
  std::unique_ptr<Runner> executable;
  std::vector<std::shared_ptr<Mapping>> mappings;  // weights lie in these
  std::vector<std::unique_ptr<Arena>> copies;      // constants and transformed weights
  int64_t mapped_bytes = 0, copied_bytes = 0;
  // One run at a time, for they share the arena; between rounds, weights are packed. Programs that share weights take
  // turns, too.
  std::shared_ptr<FairMutex> running = std::make_shared<FairMutex>();
  std::shared_ptr<ExecutableState> base;  // whose weights it shares
  // What every run asks, looked up once.
  std::vector<int> inputs;
  int tokens = -1, positions = -1, output_rows = -1;  // the inputs that a batch fills
  bool wants_batch = false;
  PagedKvOptions checked;  // a cache like this fits the program

  void look_up() {
    const Program& program = executable->program();
    for (size_t i = 0; i < program.values.size(); ++i) {
      if (program.values[i].kind != ValueKind::input) continue;
      const int id = static_cast<int>(i);
      inputs.push_back(id);
      if (program.values[i].name == "tokens") tokens = id;
      if (program.values[i].name == "positions") positions = id;
      if (program.values[i].name == "output_rows") output_rows = id;
    }
    for (const CallInfo& call : program.calls)
      wants_batch =
          wants_batch || std::strcmp(call.op->name, "kv_write") == 0 || std::strcmp(call.op->name, "attention") == 0;
  }
};

// How long a run goes on by itself: each token that it draws is the next round's row.
struct Ahead {
  const std::atomic<int32_t>* rounds;  // how many may be; JavaScript changes it meanwhile, with Atomics.store
  int most;                            // whatever it says
  std::vector<int32_t> ends;           // nothing follows these tokens
  float least = 0;                     // nor ones with a lower probability, where every sequence has come to one
  bool quiet = false;                  // JavaScript hears of all rounds at the end
  std::function<void()> tell;          // called, on the run's thread, when a round is over and another one follows
  std::mutex mutex;
  std::vector<Drawn> told;  // rounds that JavaScript has not heard of
  bool closed = false;      // nobody listens any more

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

  void execute() {
    run();
    if (!ahead) return;
    for (int done = 1; goes_on(done); ++done) {
      std::vector<int32_t> tokens;
      for (const SampleResult& result : draws.drawn.results) tokens.push_back(result.token);
      bool is_first;
      {
        std::lock_guard lock(ahead->mutex);
        is_first = ahead->told.empty();
        ahead->told.push_back(std::move(draws.drawn));
      }
      must_tell_ = is_first && !ahead->quiet;  // else it has been called and not been heard yet
      draws.clear();
      batch.follow(tokens.data());
      rows = outputs;
      run();
    }
  }

 private:
  void run() {
    std::unique_lock turn(*state->running, std::try_to_lock);
    if (!turn.owns_lock()) {
      tell();
      turn.lock();
    }
    // To wake the JavaScript thread takes 30 us, and it may take this core for as long as it has work, 200 us: the
    // other members of the team go on meanwhile.
    std::function<void()> tell;
    if (must_tell_) tell = [this] { this->tell(); };
    state->executable->run(rows, outputs, bindings, has_batch ? &batch.batch() : nullptr, kv.get(),
                           draws.samplers.empty() ? nullptr : &draws, tell);
    this->tell();
  }

  void tell() {
    if (must_tell_) ahead->tell();
    must_tell_ = false;
  }

  bool goes_on(int done) const {
    if (ahead->closed || done >= ahead->most || done > batch.follows()) return false;
    if (done >= ahead->rounds->load(std::memory_order_acquire)) return false;
    bool all_unlikely = ahead->least > 0;
    for (const SampleResult& result : draws.drawn.results) {
      if (result.error != SampleError::none || ahead->ends_with(result.token)) return false;
      all_unlikely = all_unlikely && std::exp(result.logprob) < ahead->least;
    }
    return !all_unlikely;
  }

  bool must_tell_ = false;  // JavaScript does not know of the last round yet
};

}  // namespace vivace
