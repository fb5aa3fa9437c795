// Suffix arrays of sequences of integers, by induced sorting (SA-IS: Nong, Zhang, Chan, "Two Efficient Algorithms for
// Linear Time Suffix Array Construction", 2011).
#pragma once
#include <atomic>
#include <cstdint>

namespace vivace {

// What a long piece of work and those who wait for it tell each other.
class Watch {
 public:
  // Both may be missing. `permille` is written, `abort` is read.
  Watch(std::atomic<int32_t>* permille, const std::atomic<int32_t>* abort) : permille_(permille), abort_(abort) {}
  // Throws ABORTED when that was wanted. Cheap enough for once in thousands of steps.
  void check() const;
  // What is done from now on is this part of the whole.
  void reached(double fraction) const {
    if (permille_ != nullptr) permille_->store(static_cast<int32_t>(1000 * fraction), std::memory_order_relaxed);
  }

 private:
  std::atomic<int32_t>* permille_;
  const std::atomic<int32_t>* abort_;
};

// Sorts the suffixes of text[0, size), whose values lie in [0, alphabet); a suffix comes before those it begins. Fills
// sorted[0, size) with their begins. O(size + alphabet) time; memory beside both arrays: a bit per value and 4 bytes
// per letter, for the whole recursion at most 4 bytes per two values more. Throws ABORTED, OUT_OF_MEMORY.
void suffix_array(const int32_t* text, int32_t size, int32_t alphabet, int32_t* sorted, const Watch& watch);

}  // namespace vivace
