// convertCheckpoint: one linear map of a quantised checkpoint, from its mapped files into memory of its own.
#include "addon/weights/checkpoint_wrap.h"

#include <atomic>
#include <exception>
#include <string>

#include "addon/wraps.h"
#include "core/thread_pool.h"
#include "quant/checkpoint/checkpoint.h"

namespace vivace {
namespace {

int64_t integer(const Napi::Object& given, const char* name) {
  return given.Get(name).As<Napi::Number>().Int64Value();
}

// { mapping, offset, bytes }, or null where it may be absent.
const std::byte* part(Napi::Env env, const Napi::Object& given, const char* name, int64_t bytes) {
  if (!given.Get(name).IsObject()) return nullptr;
  const Napi::Object object = given.Get(name).As<Napi::Object>();
  const MappingWrap* wrap = unwrap<MappingWrap>(env, object.Get("mapping"), &AddonData::mapping, "Mapping");
  const int64_t offset = integer(object, "offset"), size = integer(object, "bytes");
  if (size != bytes)
    throw Error("SHAPE_MISMATCH",
                std::string(name) + " has " + std::to_string(size) + " bytes instead of " + std::to_string(bytes));
  if (!wrap->mapping || offset < 0 || size > wrap->mapping->size() || offset > wrap->mapping->size() - size)
    throw Error("FORMAT_TRUNCATED", "A tensor lies beyond the end of its file", "Download it again.");
  return wrap->mapping->data() + offset;
}

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// The bytes that a layout needs for its codes and zero points; checks that rows and columns fit it.
struct Sizes {
  int64_t codes, scales, zeros, group_scales;
};
Sizes sizes_of(const Checkpoint& source, bool grouped) {
  const int64_t rows = source.rows, columns = source.columns, groups = columns / source.group;
  const int64_t per_word = 32 / source.bits, number = find_dtype(source.scale_type)->bytes;
  const int64_t words = ceil_div(columns, per_word);
  const auto fits = [&](bool condition) {
    if (!condition) throw Error("SHAPE_MISMATCH", "rows or columns do not fit the layout");
  };
  switch (source.layout) {
    case CheckpointLayout::gptq:
      fits(columns % per_word == 0);
      return {words * rows * 4, groups * rows * number, groups * ceil_div(rows, per_word) * 4, 0};
    case CheckpointLayout::awq:
      fits(rows % 8 == 0 && source.bits == 4);
      return {columns * rows / 2, groups * rows * number, groups * rows / 2, 0};
    case CheckpointLayout::packed:
      return {rows * words * 4, groups * rows * number, ceil_div(rows, per_word) * groups * 4, 0};
    case CheckpointLayout::bytes:
      fits(source.bits == 8);
      return {rows * columns, groups * rows * number, groups * rows, 0};
    case CheckpointLayout::marlin:
      fits(columns % 16 == 0 && rows % 64 == 0 && source.bits == 4);
      return {columns * rows / 2, groups * rows * number, 0, 0};
    case CheckpointLayout::qqq:
      fits(columns % 16 == 0 && rows % 64 == 0 && source.bits == 4);
      return {columns * rows / 2, rows * 4, 0, groups * rows * 2};
    case CheckpointLayout::qserve:
      fits(columns % 32 == 0 && rows % 32 == 0 && source.bits == 4);
      return {columns * rows / 2, rows * number, grouped ? groups * rows : rows * 2, groups * rows};
  }
  throw Error("INTERNAL", "unknown layout");
}

constexpr int64_t longest = int64_t{1} << 30;  // rows and columns: products with them do not overflow

Checkpoint read_checkpoint(Napi::Env env, const Napi::Object& given) {
  Checkpoint source{};
  source.layout = static_cast<CheckpointLayout>(integer(given, "layout"));
  source.bits = static_cast<int>(integer(given, "bits"));
  source.rows = integer(given, "rows");
  source.columns = integer(given, "columns");
  source.group = integer(given, "group");
  source.scale_type = static_cast<DType>(integer(given, "scaleType"));
  source.zero_plus_one = given.Get("zeroPlusOne").ToBoolean();
  source.zero = static_cast<int>(integer(given, "zero"));
  const DType scales = source.scale_type;
  if ((source.bits != 2 && source.bits != 4 && source.bits != 8) || source.rows < 1 || source.columns < 1 ||
      source.rows > longest || source.columns > longest || source.group < 1 || source.columns % source.group != 0 ||
      (scales != DType::F16 && scales != DType::BF16 && scales != DType::F32))
    throw Error("SHAPE_MISMATCH", "bits, rows, columns, group or type of scales are out of range");
  const Sizes sizes = sizes_of(source, given.Get("groupScales").IsObject());
  source.codes = part(env, given, "codes", sizes.codes);
  source.scales = part(env, given, "scales", sizes.scales);
  source.zeros = part(env, given, "zeros", sizes.zeros);
  source.group_scales = part(env, given, "groupScales", sizes.group_scales);
  if (source.codes == nullptr || source.scales == nullptr) throw Error("INTERNAL", "codes or scales are missing");
  source.signed_codes = source.layout == CheckpointLayout::qqq && source.group_scales == nullptr;
  if (given.Get("order").IsTypedArray()) {
    const auto order = given.Get("order").As<Napi::Int32Array>();
    if (static_cast<int64_t>(order.ElementLength()) != source.columns)
      throw Error("INTERNAL", "order has the wrong length");
    source.order = order.Data();
    for (int64_t i = 0; i < source.columns; ++i)
      if (source.order[i] < 0 || source.order[i] >= source.columns) throw Error("INTERNAL", "order is out of range");
  }
  return source;
}

// Types whose packers want parts that only some layouts have.
void check_pair(const Checkpoint& source, DType stored) {
  const DTypeInfo* info = find_dtype(stored);
  const CheckpointLayout layout = source.layout;
  const bool qserve = layout == CheckpointLayout::qserve, qqq = layout == CheckpointLayout::qqq;
  const int bits = stored >= DType::W8A16 && stored <= DType::W8A16_G128   ? 8
                   : stored >= DType::W4A16 && stored <= DType::W4A16_G128 ? 4
                                                                           : 0;
  const int64_t width = info != nullptr && info->block > 2 ? info->block : source.columns;
  bool fits = info != nullptr && source.columns % info->block == 0 && source.group % width == 0;
  if (stored == DType::W4A8_G128)
    fits = fits && qserve && source.zeros != nullptr && source.group_scales != nullptr && source.group == 128;
  else if (stored == DType::W4A8)
    fits = fits && ((qserve && source.zeros != nullptr) || (qqq && source.group_scales == nullptr));
  else if (stored == DType::W8A8)
    fits = info != nullptr && ((qqq && source.group_scales != nullptr) ||
                               (layout == CheckpointLayout::bytes && source.group == source.columns));
  else
    fits = fits && !qserve && !qqq && bits == (source.bits == 8 ? 8 : 4);
  if (!fits) throw Error("DTYPE_MISMATCH", "the stored type does not fit the checkpoint's layout");
}

// convertCheckpoint(source, stored, target: Mapping, offset, threads)
void convert(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const Checkpoint source = read_checkpoint(info.Env(), info[0].As<Napi::Object>());
    const auto stored = static_cast<DType>(info[1].As<Napi::Number>().Int32Value());
    check_pair(source, stored);
    const MappingWrap* target = unwrap<MappingWrap>(info.Env(), info[2], &AddonData::mapping, "Mapping");
    const int64_t offset = info[3].As<Napi::Number>().Int64Value(), stride = row_bytes(stored, source.columns);
    const int threads = info[4].As<Napi::Number>().Int32Value();
    if (!target->mapping || target->mapping->writable() == nullptr || offset < 0 ||
        offset > target->mapping->size() - source.rows * stride || threads < 1 || threads > 256)
      throw Error("INTERNAL", "convertCheckpoint: no room");
    std::byte* out = target->mapping->writable() + offset;
    std::atomic<bool> good{true}, room{true};
    ThreadPool::shared(threads)->run(threads, [&](Team& team) {
      team.share(ceil_div(source.rows, checkpoint_tile), 1, [&](int64_t first, int64_t last) {
        const int64_t begin = first * checkpoint_tile;
        const int64_t end = last * checkpoint_tile < source.rows ? last * checkpoint_tile : source.rows;
        try {
          if (!convert_checkpoint(source, stored, begin, end, out + begin * stride)) good = false;
        } catch (const std::exception&) {
          room = false;
        }
      });
    });
    if (!room)
      throw Error("OUT_OF_MEMORY", "The system has no memory left for this operation", "Close other programs.");
    if (!good) throw Error("FORMAT_INVALID", "a scale is not finite, or out of range");
  });
}

}  // namespace

void init_checkpoint(Napi::Env env, Napi::Object exports) {
  exports.Set("convertCheckpoint", Napi::Function::New(env, convert));
}

}  // namespace vivace
