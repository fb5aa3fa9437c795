// What an executable keeps besides its program, and one run of it: one round, or several that follow from each other.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "caches/paged_kv.h"
#include "core/fair_mutex.h"
#include "core/memory/arena.h"
#include "core/memory/mapping.h"
#include "decode/sample.h"
#include "program/batch_storage.h"
#include "program/runner.h"

namespace vivace {

struct ExecutableState {
  std::unique_ptr<Runner> executable;
  std::vector<std::shared_ptr<Mapping>> mappings;  // weights lie in these
  std::vector<std::unique_ptr<Arena>> copies;      // constants and transformed weights
  int64_t mapped_bytes = 0, copied_bytes = 0;
  FairMutex running;  // one run at a time, for they share the arena; between rounds, weights are packed
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

// What a round drew, owned: the samplers go on while JavaScript reads it.
struct Drawn {
  std::vector<SampleResult> results;  // per output
  std::vector<std::vector<TokenLogprob>> top;
};

// How long a run goes on by itself: each token that it draws is the next round's row.
struct Ahead {
  const std::atomic<int32_t>* rounds;  // how many may be; JavaScript changes it meanwhile, with Atomics.store
  int most;                            // whatever it says
  std::vector<int32_t> ends;           // nothing follows these tokens
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
  int logits = -1;                 // the value that samplers draw from
  std::vector<Sampler*> samplers;  // per output, null: no draw; their objects are kept alive by the request
  Drawn drawn;
  std::shared_ptr<Ahead> ahead;

  void execute() {
    run();
    if (!ahead) return;
    for (int done = 1; goes_on(done); ++done) {
      std::vector<int32_t> tokens;
      for (const SampleResult& result : drawn.results) tokens.push_back(result.token);
      bool is_first;
      {
        std::lock_guard lock(ahead->mutex);
        is_first = ahead->told.empty();
        ahead->told.push_back(std::move(drawn));
      }
      must_tell_ = is_first;  // else it has been called and not been heard yet
      drawn = {};
      drawn.results.resize(samplers.size());
      drawn.top.resize(samplers.size());
      batch.follow(tokens.data());
      rows = outputs;
      run();
    }
  }

 private:
  void run() {
    std::unique_lock turn(state->running, std::try_to_lock);
    if (!turn.owns_lock()) {
      tell();
      turn.lock();
    }
    std::function<void(Team&)> draw;
    if (!samplers.empty()) draw = [this](Team& team) { sample(team); };
    // To wake the JavaScript thread takes 30 us, and it may take this core for as long as it has work, 200 us: the
    // other members of the team go on meanwhile.
    std::function<void()> tell;
    if (must_tell_) tell = [this] { this->tell(); };
    state->executable->run(rows, outputs, bindings, has_batch ? &batch.batch() : nullptr, kv.get(), draw, tell);
    this->tell();
  }

  void tell() {
    if (must_tell_) ahead->tell();
    must_tell_ = false;
  }

  bool goes_on(int done) const {
    if (ahead->closed || done >= ahead->most || done > batch.follows()) return false;
    if (done >= ahead->rounds->load(std::memory_order_acquire)) return false;
    for (const SampleResult& result : drawn.results)
      if (result.error != SampleError::none || ahead->ends_with(result.token)) return false;
    return true;
  }

  // Each member draws for some of the outputs.
  void sample(Team& team) {
    const Runner& executable = *state->executable;
    const int64_t vocab = executable.program().values[static_cast<size_t>(logits)].columns;
    std::byte* data = executable.address(logits);
    for (const RunBinding& binding : bindings)
      if (binding.value == logits) data = binding.data;
    for (int64_t output = team.thread(); output < outputs; output += team.threads()) {
      const auto i = static_cast<size_t>(output);
      if (samplers[i] == nullptr) continue;
      SampleResult& result = drawn.results[i];
      samplers[i]->sample(reinterpret_cast<float*>(data) + output * vocab, vocab, result);
      if (result.error != SampleError::none) continue;
      drawn.top[i].assign(result.top, result.top + result.top_count);
      samplers[i]->accept(&result.token, 1);
    }
  }

  bool must_tell_ = false;  // JavaScript does not know of the last round yet
};

}  // namespace vivace
