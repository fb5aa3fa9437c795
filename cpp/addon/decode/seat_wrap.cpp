#include "addon/decode/seat_wrap.h"

#include "addon/decode/drafter_wrap.h"

namespace vivace {
namespace {

double number(const Napi::Object& given, const char* name) {
  const Napi::Value value = given.Get(name);
  if (!value.IsNumber()) throw Error("INTERNAL", std::string("run: a drafter without ") + name);
  return value.As<Napi::Number>().DoubleValue();
}

template <class Array, class Value>
Array array_of(Napi::Env env, const std::vector<Value>& values) {
  Array array = Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); ++i) array[i] = values[i];
  return array;
}

}  // namespace

std::vector<DraftSeat> read_seats(const Napi::Array& list) {
  std::vector<DraftSeat> seats;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    DraftSeat seat;
    const Napi::Value value = list.Get(i);
    if (value.IsObject()) {
      const Napi::Object given = value.As<Napi::Object>();
      seat.drafter = unwrap_drafter(given.Get("drafter"));
      seat.most = static_cast<int>(std::clamp(number(given, "maxDraft"), 0.0, double{most_drafted_ahead}));
      seat.left = static_cast<int64_t>(std::clamp(number(given, "room"), 1.0, 1e9));
      seat.options.rule = static_cast<VerifyRule>(static_cast<int32_t>(number(given, "rule")));
      seat.options.first = number(given, "first");
      seat.options.second = number(given, "second");
      seat.cycle = static_cast<uint64_t>(std::max(1.0, number(given, "cycle")));
      seat.calibration = number(given, "calibration");
      const Napi::Value costs = given.Get("costs");
      if (!costs.IsTypedArray() || costs.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array)
        throw Error("INTERNAL", "run: costs are no Float64Array");
      const auto row_costs = costs.As<Napi::Float64Array>();
      seat.costs.assign(row_costs.Data(), row_costs.Data() + row_costs.ElementLength());
      seat.drafter->drafter->prepare(std::min(seat.left, int64_t{most_cells_ahead}), seat.most);
    }
    seats.push_back(std::move(seat));
  }
  return seats;
}

void place_seats(Round& round) {
  const bool given = !round.seats.empty();
  size_t seat = 0;
  for (int64_t output = 0; output < round.outputs; ++seat) {
    if (seat == round.seats.size()) {
      if (given) throw Error("INTERNAL", "run: drafters want one or null per sequence");
      round.seats.emplace_back();
    }
    DraftSeat& own = round.seats[seat];
    own.output = output;
    own.sampler = round.draws.samplers[static_cast<size_t>(output)];
    for (const Walk& walk : round.draws.walks)
      if (walk.output == output) {
        own.sampler = walk.sampler;
        own.rows = walk.rows();
      }
    if (own.sampler == nullptr) throw Error("INTERNAL", "run: rounds ahead want a draw of each output");
    if (!own.drafter) own.left = round.ahead->most + own.rows;
    output += own.rows;
  }
  if (seat != round.seats.size()) throw Error("INTERNAL", "run: drafters want one or null per sequence");
}

Napi::Object report_round(Napi::Env env, const Told& told, bool drafts) {
  Napi::Object round = Napi::Object::New(env);
  round.Set("ms", told.ms);
  if (!drafts) return round;
  const size_t outputs = told.drawn.results.size();
  round.Set("tokens", Napi::Int32Array::New(env, outputs));
  round.Set("logprobs", Napi::Float32Array::New(env, outputs));
  round.Set("errors", Napi::Int32Array::New(env, outputs));
  if (told.rows.empty()) return round;
  round.Set("rows", array_of<Napi::Int32Array>(env, told.rows));
  round.Set("hoped", array_of<Napi::Float64Array>(env, told.hoped));
  round.Set("draftMs", array_of<Napi::Float64Array>(env, told.draft_ms));
  round.Set("kept", array_of<Napi::Int32Array>(env, told.kept));
  return round;
}

}  // namespace vivace
