#include "addon/decode/seat_wrap.h"

#include "addon/decode/drafter_wrap.h"
#include "addon/decode/sampler_wrap.h"
#include "addon/decode/verify_wrap.h"

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

// Int32Array of values that the program gives of every row; none for drafters that do not read them.
void read_taps(const Napi::Value& given, const Program& program, DraftSeat& seat) {
  int64_t width = 0;
  if (given.IsTypedArray()) {
    const Napi::Int32Array taps = given.As<Napi::Int32Array>();
    seat.taps.assign(taps.Data(), taps.Data() + taps.ElementLength());
  }
  for (const int tap : seat.taps) {
    const bool known = std::find(program.outputs.begin(), program.outputs.end(), tap) != program.outputs.end();
    if (!known || program.values[static_cast<size_t>(tap)].rows != rows_symbol)
      throw Error("INTERNAL", "run: a drafter wants a value that the run does not give of every row");
    width += program.values[static_cast<size_t>(tap)].columns;
  }
  if (width != seat.drafter->drafter->width()) throw Error("INTERNAL", "run: a drafter reads rows of another width");
}

// { sampler, rows, outputs }: what draws from probes, and of the first round's one how many rows and outputs it has.
void read_prober(const Napi::Object& given, DraftSeat& seat) {
  seat.prober = unwrap_sampler(given.Get("sampler"));
  seat.probe_rows = static_cast<int64_t>(number(given, "rows"));
  seat.probes = static_cast<int64_t>(number(given, "outputs"));
  if (seat.probes < 0 || seat.probes > seat.probe_rows || seat.probe_rows > seat.drafter->drafter->probe_rows())
    throw Error("INTERNAL", "run: a probe of another size");
}

// { weights, bias, bound, longest, protect, value }; `protect`: tokens that only the rule may keep.
void read_seat_judge(const Napi::Object& given, const Program& program, SeatJudge& judge) {
  judge.head = read_judge(given);
  judge.head.value = static_cast<int>(number(given, "value"));
  check_hidden(judge.head, program);
  const Napi::Int32Array tokens = given.Get("protect").As<Napi::Int32Array>();
  for (size_t i = 0; i < tokens.ElementLength(); ++i) {
    if (tokens[i] < 0) throw Error("INTERNAL", "run: a judge protects tokens");
    const auto token = static_cast<size_t>(tokens[i]);
    if (token >= judge.guarded.size()) judge.guarded.resize(token + 1, false);
    judge.guarded[token] = true;
  }
}

}  // namespace

std::shared_ptr<Ahead> read_ahead(const Napi::Object& given, const PagedKv& kv) {
  // So many cells are reserved, though they may not be wanted; pages that nobody sees any more only go between runs.
  const int most_rounds = kv.options().policy.layers.empty() ? 256 : 64;
  auto ahead = std::make_shared<Ahead>();
  Napi::Int32Array rounds = given.Get("rounds").As<Napi::Int32Array>();
  const Napi::Int32Array ends = given.Get("ends").As<Napi::Int32Array>();
  if (rounds.ElementLength() != 1) throw Error("INTERNAL", "run: ahead.rounds is one number");
  // std::atomic_ref is not everywhere yet; an atomic integer is an integer on all our platforms.
  static_assert(sizeof(std::atomic<int32_t>) == sizeof(int32_t) && std::atomic<int32_t>::is_always_lock_free);
  ahead->rounds = reinterpret_cast<const std::atomic<int32_t>*>(rounds.Data());
  ahead->most = std::clamp(given.Get("limit").As<Napi::Number>().Int32Value(), 1, most_rounds);
  ahead->ends.assign(ends.Data(), ends.Data() + ends.ElementLength());
  ahead->quiet = given.Get("quiet").ToBoolean().Value();
  const Napi::Value least = given.Get("least");
  if (least.IsNumber()) ahead->least = least.As<Napi::Number>().FloatValue();
  const Napi::Value stop = given.Get("stop");
  if (stop.IsTypedArray() && stop.As<Napi::TypedArray>().TypedArrayType() == napi_float64_array) {
    const auto values = stop.As<Napi::Float64Array>();
    ahead->stop.values.assign(values.Data(), values.Data() + values.ElementLength());
    if (!ahead->stop.given()) throw Error("INTERNAL", "run: a stop rule of another size");
  }
  return ahead;
}

std::vector<DraftSeat> read_seats(const Napi::Array& list, const Program& program, int64_t rows) {
  std::vector<DraftSeat> seats;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    DraftSeat seat;
    const Napi::Value value = list.Get(i);
    if (value.IsObject()) {
      const Napi::Object given = value.As<Napi::Object>();
      seat.drafter = unwrap_drafter(given.Get("drafter"));
      seat.most.tokens = static_cast<int>(std::clamp(number(given, "maxDraft"), 0.0, double{most_drafted_ahead}));
      seat.most.nodes = static_cast<int>(std::clamp(number(given, "maxNodes"), 0.0, double{most_nodes_ahead}));
      seat.most.nodes = std::max(seat.most.nodes, seat.most.tokens);
      seat.left = static_cast<int64_t>(std::clamp(number(given, "room"), 1.0, 1e9));
      seat.options.rule = static_cast<VerifyRule>(static_cast<int32_t>(number(given, "rule")));
      seat.options.first = number(given, "first");
      seat.options.second = number(given, "second");
      seat.cycle = static_cast<uint64_t>(std::max(1.0, number(given, "cycle")));
      seat.calibration = number(given, "calibration");
      seat.begins = given.Get("begins").ToBoolean().Value();
      if (seat.begins && list.Length() > 1) throw Error("INTERNAL", "run: the first draft of several is made before");
      const Napi::Value costs = given.Get("costs");
      if (!costs.IsTypedArray() || costs.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array)
        throw Error("INTERNAL", "run: costs are no Float64Array");
      const auto row_costs = costs.As<Napi::Float64Array>();
      seat.costs.assign(row_costs.Data(), row_costs.Data() + row_costs.ElementLength());
      if (given.Get("prober").IsObject()) read_prober(given.Get("prober").As<Napi::Object>(), seat);
      read_taps(given.Get("taps"), program, seat);
      if (given.Get("judge").IsObject()) read_seat_judge(given.Get("judge").As<Napi::Object>(), program, seat.judge);
      seat.drafter->drafter->prepare(std::min(seat.left, int64_t{most_cells_ahead}) + rows, seat.most);
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
        own.depth = walk.depth();
      }
    if (own.sampler == nullptr) throw Error("INTERNAL", "run: rounds ahead want a draw of each output");
    if (!own.drafter) own.left = round.ahead->most + own.rows;
    output += own.outputs();
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
  round.Set("depths", array_of<Napi::Int32Array>(env, told.depths));
  round.Set("probed", array_of<Napi::Int32Array>(env, told.probed));
  round.Set("hoped", array_of<Napi::Float64Array>(env, told.hoped));
  round.Set("draftMs", array_of<Napi::Float64Array>(env, told.draft_ms));
  round.Set("kept", array_of<Napi::Int32Array>(env, told.kept));
  return round;
}

}  // namespace vivace
