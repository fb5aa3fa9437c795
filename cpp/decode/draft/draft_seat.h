// A sequence of a run that goes on by itself: what it says each round, and what its drafter puts behind that.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "decode/draft/drafter.h"
#include "decode/draws.h"

namespace vivace {

// A drafter that runs may ask while JavaScript has it. A failed call may leave it with half a text: nobody asks it
// again.
struct SharedDrafter {
  std::unique_ptr<Drafter> drafter;
  bool broken = false;
};

// A chain's scores, and kept tokens per sum of scores.
struct Bid {
  const std::vector<float>* scores = nullptr;
  double calibration = 1;
};

// How many tokens of each chain give, together, the most tokens per millisecond; none is a choice. `sequences` get one
// token each besides. costs[1 + n]: milliseconds of a round of them with n drafted rows, negative ones guessed; without
// costs all of them. `fixed`: drafted rows that are in the round anyway. As lib/decode/speculation/scaling/joint.ts
// says it.
std::vector<int> paying(const std::vector<Bid>& bids, size_t sequences, const std::vector<double>& costs,
                        size_t fixed = 0);

struct DraftSeat {
  std::shared_ptr<SharedDrafter> drafter;  // null: it says one token a round
  int most = 0;                            // tokens of a draft
  int64_t left = 0;                        // tokens that it may still say
  VerifyOptions options;
  uint64_t cycle = 1;         // of the next draft: it counts the tokens that were said
  std::vector<double> costs;  // for paying(); those of the run's other seats are the same
  double calibration = 1;
  double hoped = 0;     // sum of the scores of the tokens that are verified next
  double draft_ms = 0;  // what these cost

  // Outputs of the current batch.
  Sampler* sampler = nullptr;
  int64_t output = 0, rows = 1;
  std::vector<int32_t> said;  // in the last round

  // Takes from `draws` what was said, and tells the drafter. False: an error, or nothing may follow.
  bool hear(const Draws& draws);
  // The round of so many drafted rows took so long: what was guessed is known now.
  void took(double ms, size_t drafted);
  // Tokens of the next draft at most, where `room` rows have memory behind its root; false: there is not enough of it.
  bool longest(int64_t room, int& most_tokens) const;
  // Adds the seat's outputs to the draws of the next round.
  void sit(const std::vector<int32_t>& tokens, Draws& draws);

 private:
  friend void draft_next(std::vector<DraftSeat>& seats, const std::vector<int64_t>& rooms,
                         std::vector<std::vector<int32_t>>& tokens);
  bool is_open() const { return proposal_ == nullptr && !costs.empty(); }
  Draft draft_;
  const Proposal* proposal_ = nullptr;
};

// What comes next in each sequence: the token said last and a draft, of rooms[i] tokens at most.
void draft_next(std::vector<DraftSeat>& seats, const std::vector<int64_t>& rooms,
                std::vector<std::vector<int32_t>>& tokens);

}  // namespace vivace
