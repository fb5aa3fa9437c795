#include "program/rewrite/panels.h"

#include <cstring>

#include "core/memory/system.h"
#include "ops/linear/panels.h"

namespace vivace {

namespace {
constexpr int64_t alignment = 4096;  // of a weight: panels are read as aligned vectors
}

int weights_in_panels(const OpInfo& op) {
  return std::strcmp(op.name, "linear") == 0 ? 1 : std::strcmp(op.name, "gated_linear") == 0 ? 2 : 0;
}

Kernel panel_packer(Isa isa) {
  static constexpr Kernel kernels[isa_count] = VIVACE_KERNELS(pack_panels);
  return kernels[static_cast<int>(isa)];
}

Panels::Panels(const Program& program, Isa isa) : isa_(isa) {
  std::vector<bool> seen(program.values.size());
  for (const CallInfo& call : program.calls) {
    for (int input = 1; input <= weights_in_panels(*call.op); ++input) {
      const int id = call.inputs[static_cast<size_t>(input)];
      const ValueInfo& weight = program.values[static_cast<size_t>(id)];
      if (seen[static_cast<size_t>(id)] || weight.data == nullptr || !has_panels(weight.dtype)) continue;
      seen[static_cast<size_t>(id)] = true;
      const int64_t bytes = panel_bytes(weight.dtype, weight.rows, weight.columns, isa_lanes(isa));
      jobs_.push_back({id, total_, bytes});
      total_ += (bytes + alignment - 1) / alignment * alignment;
    }
  }
}

void Panels::pack(const Program& program, ThreadPool& pool, int threads, int64_t bytes) {
  if (done()) return;
  std::byte* memory = nullptr;
  try {
    memory = memory_.reserve(total_);
  } catch (const Error&) {
    throw Error("OUT_OF_MEMORY",
                "The system has no " + std::to_string(total_) + " bytes for weights in the order that is read fastest",
                "Load the model with repack: 'never', or close other programs.");
  }
  const Kernel kernel = panel_packer(isa_);
  const size_t first = next_;
  int64_t chosen = 0, released = 0;
  std::vector<OpRun> runs;
  for (; next_ < jobs_.size() && chosen < bytes; ++next_) {
    const Job& job = jobs_[next_];
    const ValueInfo& weight = program.values[static_cast<size_t>(job.value)];
    OpRun run;
    run.inputs[0] = {weight.dtype, weight.rows, weight.columns, row_bytes(weight.dtype, weight.columns),
                     const_cast<std::byte*>(weight.data)};
    run.outputs[0].data = memory + job.offset;
    runs.push_back(run);
    chosen += job.bytes;
    if (weight.mapped) released += weight.rows * row_bytes(weight.dtype, weight.columns);
  }
  pool.run(threads, [&](Team& team) {
    for (size_t i = 0; i < runs.size(); ++i) {
      kernel(runs[i], team);
      team.barrier();
      const ValueInfo& weight = program.values[static_cast<size_t>(jobs_[first + i].value)];
      if (team.thread() == 0 && weight.mapped)
        release_file_pages(weight.data, weight.rows * row_bytes(weight.dtype, weight.columns));
    }
  });
  released_ += released;
  packed_ += chosen;
  if (done()) packed_ = total_;  // with what lies between them
}

const std::byte* Panels::find(int value) const {
  for (size_t i = 0; i < next_; ++i)
    if (jobs_[i].value == value) return memory_.data() + jobs_[i].offset;
  return nullptr;
}

}  // namespace vivace
