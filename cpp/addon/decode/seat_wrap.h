// Runs that go on by themselves, for JavaScript: which of their sequences draft, and what came out of each round.
#pragma once
#include <napi.h>

#include "addon/round.h"

namespace vivace {

// Tokens of a draft and cells kept ready for a sequence that drafts, at most.
inline constexpr int most_drafted_ahead = 64, most_cells_ahead = 256;

// { rounds, limit, ends, quiet?, least?, stop? }, without the drafters; throws INTERNAL.
std::shared_ptr<Ahead> read_ahead(const Napi::Object& given);

// [{ drafter, maxDraft, room, rule, first, second, cycle, costs, calibration } | null] per sequence
std::vector<DraftSeat> read_seats(const Napi::Array& given);
// Whose outputs are whose, in the first round.
void place_seats(Round& round);
// What lib/native.ts calls NativeRound; its tokens, logprobs and errors are to be filled.
Napi::Object report_round(Napi::Env env, const Told& told, bool drafts);

}  // namespace vivace
