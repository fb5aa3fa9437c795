// quantize and dequantize: rows of floats into stored blocks and back, for writers of model files and for tests. And
// packPanels: blocks into the order that `linear` reads, as models' weights are rewritten, for tests.
// JavaScript allocates both sides; sizes are checked here.
#include "addon/weights/quant_wrap.h"

#include <cmath>
#include <cstring>
#include <string>

#include "addon/error_wrap.h"
#include "core/memory/arena.h"
#include "core/thread_pool.h"
#include "ops/linear/panels.h"
#include "program/rewrite/panels.h"
#include "quant/registry.h"

namespace vivace {
namespace {

struct Job {
  const QuantType* type;
  int64_t rows, columns, row_bytes;
};

Job job_of(const Napi::CallbackInfo& info) {
  const int id = info[0].As<Napi::Number>().Int32Value();
  const QuantType* type = find_quant(static_cast<DType>(id));
  if (type == nullptr) throw Error("UNSUPPORTED_TENSOR_TYPE", "type " + std::to_string(id) + " is no weight format");
  const DTypeInfo& dtype = *find_dtype(type->dtype);
  const int64_t rows = info[2].As<Napi::Number>().Int64Value(), columns = info[3].As<Napi::Number>().Int64Value();
  if (rows < 0 || columns < 0 || columns % dtype.block != 0)
    throw Error("SHAPE_MISMATCH", std::string(dtype.name) + ": " + std::to_string(columns) +
                                      " columns are no whole number of blocks of " + std::to_string(dtype.block));
  return {type, rows, columns, row_bytes(type->dtype, columns)};
}

void check_sizes(const Job& job, size_t floats, size_t bytes) {
  if (floats != static_cast<size_t>(job.rows * job.columns) || bytes != static_cast<size_t>(job.rows * job.row_bytes))
    throw Error("SHAPE_MISMATCH", "expected " + std::to_string(job.rows * job.columns) + " values and " +
                                      std::to_string(job.rows * job.row_bytes) + " bytes, received " +
                                      std::to_string(floats) + " and " + std::to_string(bytes));
}

// Scales are 16-bit floats in every narrow format but BF16.
void check_values(const Job& job, const float* values) {
  const bool wide = job.type->dtype == DType::F32 || job.type->dtype == DType::BF16;
  for (int64_t i = 0; i < job.rows * job.columns; ++i)
    if (!std::isfinite(values[i]) || (!wide && std::fabs(values[i]) > 65504.0f))
      throw Error("INVALID_ARGUMENT", "value " + std::to_string(i % job.columns) + " of row " +
                                          std::to_string(i / job.columns) + " is " + std::to_string(values[i]) +
                                          ", which " + find_dtype(job.type->dtype)->name + " cannot hold");
}

// quantize(dtype, values: Float32Array, rows, columns, out: Uint8Array, threads = 1)
void quantize(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const Job job = job_of(info);
    const auto values = info[1].As<Napi::Float32Array>();
    auto out = info[4].As<Napi::Uint8Array>();
    check_sizes(job, values.ElementLength(), out.ByteLength());
    check_values(job, values.Data());
    auto* blocks = reinterpret_cast<std::byte*>(out.Data());
    const float* floats = values.Data();
    const int threads = info[5].IsNumber() ? info[5].As<Napi::Number>().Int32Value() : 1;
    if (threads < 1 || threads > 256) throw Error("INVALID_ARGUMENT", "threads must be 1 to 256");
    ThreadPool::shared(threads)->run(threads, [&](Team& team) {
      team.share(job.rows, 1, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
          job.type->quantize_row(floats + row * job.columns, blocks + row * job.row_bytes, job.columns);
      });
    });
  });
}

// dequantize(dtype, blocks: Uint8Array, rows, columns, out: Float32Array)
void dequantize(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const Job job = job_of(info);
    const auto blocks = info[1].As<Napi::Uint8Array>();
    auto out = info[4].As<Napi::Float32Array>();
    check_sizes(job, out.ElementLength(), blocks.ByteLength());
    const auto* bytes = reinterpret_cast<const std::byte*>(blocks.Data());
    for (int64_t row = 0; row < job.rows; ++row)
      job.type->dequantize_row(bytes + row * job.row_bytes, out.Data() + row * job.columns, job.columns);
  });
}

// packPanels(dtype, blocks: Uint8Array, rows, columns, level, threads): Uint8Array
Napi::Value pack(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Job job = job_of(info);
    const auto blocks = info[1].As<Napi::Uint8Array>();
    const Isa isa = isa_named(info.Env(), info[4].As<Napi::String>().Utf8Value());
    const int threads = info[5].As<Napi::Number>().Int32Value();
    check_sizes(job, static_cast<size_t>(job.rows * job.columns), blocks.ByteLength());
    if (!has_panels(job.type->dtype)) throw Error("DTYPE_MISMATCH", "this type has no panels");
    if (threads < 1 || threads > 256) throw Error("INVALID_ARGUMENT", "threads must be 1 to 256");
    const int64_t size = panel_bytes(job.type->dtype, job.rows, job.columns, isa_lanes(isa));
    Arena arena;  // aligned as vectors want it
    std::byte* memory = arena.reserve(size);
    std::memset(memory, 0xa5, static_cast<size_t>(size));
    OpRun run;
    run.inputs[0] = {job.type->dtype, job.rows, job.columns, job.row_bytes,
                     reinterpret_cast<std::byte*>(const_cast<uint8_t*>(blocks.Data()))};
    run.outputs[0].data = memory;
    ThreadPool::shared(threads)->run(threads, [&](Team& team) { panel_packer(isa)(run, team); });
    auto out = Napi::Uint8Array::New(info.Env(), static_cast<size_t>(size));
    std::memcpy(out.Data(), memory, static_cast<size_t>(size));
    return out;
  });
}

}  // namespace

void init_quant(Napi::Env env, Napi::Object exports) {
  exports.Set("quantize", Napi::Function::New(env, quantize));
  exports.Set("dequantize", Napi::Function::New(env, dequantize));
  exports.Set("packPanels", Napi::Function::New(env, pack));
}

}  // namespace vivace
