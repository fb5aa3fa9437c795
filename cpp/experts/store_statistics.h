// What an expert store has done so far.
#pragma once
#include <cstdint>
#include <vector>

namespace vivace {

struct LayerStatistics {
  // Experts that runs needed, each once per run: those that were there because they stayed, those that were asked for
  // by a prediction, and the rest.
  int64_t needed = 0, hits = 0, predicted = 0, missed = 0;
  // Choices of rows, and those of them that were predicted; of runs with a prediction.
  int64_t choices = 0, foreseen = 0;
};

struct StoreStatistics {
  std::vector<LayerStatistics> layers;
  int64_t runs = 0;
  int64_t copies = 0, bytes = 0;  // finished copies; bytes read, of blocks
  int64_t dropped = 0;            // copies that were given up or not needed
  double stall_seconds = 0;       // waited for copies
  double link_seconds = 0;        // in which at least one reader read
  bool direct = true;             // reads went past the system's cache
};

}  // namespace vivace
