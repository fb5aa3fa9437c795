// class Proposal for JavaScript, and drafts of a run as JavaScript describes them.
#pragma once
#include <napi.h>

#include "decode/verify/verify.h"
#include "program/runner.h"

namespace vivace {

// Sets `exports.Proposal` and `exports.verify`.
void init_verify(Napi::Env env, Napi::Object exports);

// The native proposal of a Proposal object; throws INTERNAL for anything else. It lives as long as the object.
Proposal* unwrap_proposal(Napi::Value value);

// { sampler, rule, first?, second?, cycle, proposal?, reflection?: { alpha, corrects, rows }, judge?: { weights, bias,
// bound, guarded, longest }, masks? [rows] }: everything of a walk but its rows. `place`: of the program that verifies
// it (Runner::place).
Walk read_walk(const Napi::Object& given, const void* place);

// { weights, bias, bound, longest }: a judge's head, without what it guards. The array is the request's, which outlives
// it. Throws INTERNAL.
Judge read_judge(const Napi::Object& given);

// Whether the program returns what the judge's `value` says. Throws INTERNAL, and SHAPE_MISMATCH for a head of another
// width.
void check_hidden(const Judge& judge, const Program& program);

// The hidden states that the walk's judge reads, the run's value `hidden` from row `root` on: the host in the caller's
// memory, a device where they are computed. Throws SHAPE_MISMATCH for a head of another width.
void find_hidden(Walk& walk, const Runner& executable, const std::vector<RunBinding>& bindings, int hidden,
                 int32_t root);

// A mask of tokens for Sampler::limit_to, copied; none for null. Throws INTERNAL where words are missing.
std::vector<uint32_t> read_mask(const Napi::Value& value, const Sampler& sampler);

}  // namespace vivace
