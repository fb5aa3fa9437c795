// Runs that go on by themselves, for JavaScript: which of their sequences draft, and what came out of each round.
#pragma once
#include <napi.h>

#include "addon/round.h"

namespace vivace {

// Of a sequence that drafts, at most: tokens of a chain, nodes of a tree, cells kept ready.
inline constexpr int most_drafted_ahead = 64, most_nodes_ahead = 512, most_cells_ahead = 256;

// { rounds, limit, ends, quiet?, least?, stop? }, without the drafters, for sequences of this cache; throws INTERNAL.
std::shared_ptr<Ahead> read_ahead(const Napi::Object& given, const PagedKv& kv);

// [{ drafter, maxDraft, maxNodes, room, rule, first, second, cycle, costs, calibration, taps?, judge?, prober? } |
// null] per sequence; `rows`: of the first round.
std::vector<DraftSeat> read_seats(const Napi::Array& given, const Program& program, int64_t rows);
// Whose outputs are whose, in the first round.
void place_seats(Round& round);
// What lib/native.ts calls NativeRound; its tokens, logprobs and errors are to be filled.
Napi::Object report_round(Napi::Env env, const Told& told, bool drafts);

}  // namespace vivace
