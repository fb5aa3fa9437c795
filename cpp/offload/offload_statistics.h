// What offloaded layers have done so far.
#pragma once
#include <cstdint>

namespace vivace {

struct OffloadStatistics {
  // Rows that were chosen: in pages that are in memory, kept from runs before, fetched for a guess in time or not, and
  // fetched when they were wanted.
  int64_t resident = 0, kept = 0, foreseen = 0, missed = 0;
  // Of layers with a guess, rows that were chosen, and those of them that the guess had chosen, too.
  int64_t guessed_of = 0, guessed = 0;
  int64_t vain = 0;  // rows that were fetched ahead and not wanted
  int64_t bytes_read = 0, bytes_written = 0;
  int64_t parts_read = 0, parts_written = 0;  // whole pages of a layer
  double stall_seconds = 0;                   // of members that waited for rows and pages
};

}  // namespace vivace
