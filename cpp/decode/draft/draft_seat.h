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

// A draft's scores, the highest first, and kept tokens per sum of scores.
struct Bid {
  const std::vector<float>* scores = nullptr;
  double calibration = 1;
};

// How many tokens of each draft give, together, the most tokens per millisecond; none is a choice. `sequences` get one
// token each besides. costs[1 + n]: milliseconds of a round of them with n drafted rows, negative ones guessed; without
// costs all of them. `fixed`: drafted rows that are in the round anyway. As lib/decode/speculation/scaling/joint.ts
// says it.
std::vector<int> paying(const std::vector<Bid>& bids, size_t sequences, const std::vector<double>& costs,
                        size_t fixed = 0);

// What a sequence's next rows are: the token said last, and what is drafted behind it.
struct Branches {
  std::vector<int32_t> tokens;
  std::vector<int32_t> parents;  // places in this list, -1 for the first; empty: a chain
  const Probe* probe = nullptr;  // rows that come behind them, the drafter's
};

// What judges all drafts of a sequence: a head, as Judge has it, and the tokens that only the rule may keep.
struct SeatJudge {
  Judge head;
  std::vector<bool> guarded;  // by token
};

struct DraftSeat {
  std::shared_ptr<SharedDrafter> drafter;  // null: it says one token a round
  DraftSize most;                          // of a draft
  int64_t left = 0;                        // tokens that it may still say
  VerifyOptions options;
  uint64_t cycle = 1;         // of the next draft: it counts the tokens that were said
  std::vector<double> costs;  // for paying(); those of the run's other seats are the same
  double calibration = 1;
  SeatJudge judge;
  bool begins = false;    // the first round's draft is made in the run
  std::vector<int> taps;  // values of the run, side by side what its drafter hears of rows
  double hoped = 0;       // sum of the scores of the tokens that are verified next
  double draft_ms = 0;    // what these cost

  // Outputs of the current batch; those of a probe come behind the others.
  Sampler* sampler = nullptr;
  int64_t output = 0, rows = 1;
  Sampler* prober = nullptr;  // draws from these; null: the drafter has no probes
  int64_t probes = 0, probe_rows = 0;
  int depth = 0;              // of its draft
  std::vector<int32_t> said;  // in the last round

  // Its outputs that stay, counted from the first one.
  std::vector<int32_t> kept(const Draws& draws) const;
  int64_t outputs() const { return rows + probes; }
  // Takes from `draws` what was said, and tells the drafter; `features`: of the rows that stay, where it hears of them.
  // False: an error, or nothing may follow.
  bool hear(const Draws& draws, const std::vector<float>& features = {});
  // The round of so many drafted rows, of which the seat says `count` tokens, took so long: what was guessed is known
  // now.
  void took(double ms, size_t drafted, size_t count);
  // Whether drafts have been slower than none for some rounds, so that who planned them should think again.
  bool has_lost() const;
  // The next draft at most.
  DraftSize wanted() const;
  // Whether it has memory, where `room` rows have behind its root.
  bool fits(int64_t room) const;
  // Adds the seat's outputs to the draws of the next round, of which its first row is number `first_row`.
  void sit(const Branches& rows, Draws& draws, int64_t first_row = 0);

 private:
  friend void draft_next(std::vector<DraftSeat>& seats, std::vector<Branches>& next);
  bool is_open() const { return proposal_ == nullptr && !costs.empty(); }
  // Rounds with drafts in this run: averages of what they said and took.
  struct {
    double tokens = 0, ms = 0;
    int rounds = 0;
  } tried_;
  void rank();
  void take(int count, Branches& rows);
  Draft draft_;
  std::vector<int32_t> order_;  // the draft's nodes, the most probable one first
  std::vector<float> ranked_;   // and their scores
  const Proposal* proposal_ = nullptr;
};

// What comes next in each sequence, all of whose drafts fit.
void draft_next(std::vector<DraftSeat>& seats, std::vector<Branches>& next);

}  // namespace vivace
