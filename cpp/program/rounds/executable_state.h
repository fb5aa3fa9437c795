// A program with all that its runs share: memory, the lock by which they take turns, and the places of its inputs.
#pragma once
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "caches/paged_kv.h"
#include "core/fair_mutex.h"
#include "core/memory/arena.h"
#include "core/memory/mapping.h"
#include "program/runner.h"

namespace vivace {

struct ExecutableState {
  std::unique_ptr<Runner> executable;
  std::vector<std::shared_ptr<Mapping>> mappings;  // weights lie in these
  std::vector<std::unique_ptr<Arena>> copies;      // constants and transformed weights
  int64_t mapped_bytes = 0, copied_bytes = 0;
  // One run at a time, for they share the arena; between rounds, weights are packed. Programs that share weights take
  // turns, too. Nobody holds the locks of two programs at a time.
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

  // Adds the inputs that a batch fills.
  void bind_batch(const Batch& batch, std::vector<RunBinding>& bindings) const {
    for (const auto& [id, data] : {std::pair{tokens, batch.tokens}, std::pair{positions, batch.positions},
                                   std::pair{output_rows, batch.output_rows}})
      if (id >= 0) bindings.push_back({id, reinterpret_cast<std::byte*>(const_cast<int32_t*>(data))});
  }
};

}  // namespace vivace
