// The draws at the end of a run: which sampler draws from which row of logits, and what came out of it.
#pragma once
#include <cstdint>
#include <vector>

#include "decode/sample.h"

namespace vivace {

// What a run drew, owned: the samplers go on while somebody reads it.
struct Drawn {
  std::vector<SampleResult> results;           // per output
  std::vector<std::vector<TokenLogprob>> top;  // per output
};

struct Draws {
  int logits = -1;                 // the value that is drawn from
  std::vector<Sampler*> samplers;  // per output, null: no draw
  Drawn drawn;

  void clear() {
    drawn = {};
    drawn.results.resize(samplers.size());
    drawn.top.resize(samplers.size());
  }
  // On the host, for output i; the row is as before when it returns.
  void draw(size_t i, float* row, int64_t vocab) {
    SampleResult& result = drawn.results[i];
    samplers[i]->sample(row, vocab, result);
    if (result.error != SampleError::none) return;
    drawn.top[i].assign(result.top, result.top + result.top_count);
    samplers[i]->accept(&result.token, 1);
  }
};

}  // namespace vivace
