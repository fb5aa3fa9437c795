#include "program/rewrite/panels.h"

#include <algorithm>
#include <cstring>

#include "core/memory/system.h"
#include "ops/linear/panels.h"

namespace vivace {
namespace {

constexpr int64_t alignment = 4096;  // of a weight: panels are read as aligned vectors
// Of a weight between two times that its file's pages are given back: so much of it has memory twice.
constexpr int64_t slice_bytes = int64_t{4} << 20;

// Some rows of a weight: a multiple of the level's lanes, unless they are the last ones.
struct Slice {
  OpRun run;
  const ValueInfo* weight;
  int64_t read;  // bytes of the weight, to the end of these rows
};

// The matrices of experts lie below each other, and each must begin with a panel.
bool experts_fill_panels(const CallInfo& call, const ValueInfo& weight, int64_t lanes) {
  if (std::strncmp(call.op->name, "expert_", 7) != 0) return true;
  return weight.rows / static_cast<int64_t>(call.attributes[0]) % lanes == 0;
}

}  // namespace

int weights_in_panels(const OpInfo& op) {
  struct Row {
    const char* name;
    int weights;
  };
  for (const Row& row : {Row{"linear", 1}, Row{"gated_linear", 2}, Row{"expert_gate_up", 2}, Row{"expert_down", 1}})
    if (std::strcmp(op.name, row.name) == 0) return row.weights;
  return 0;
}

Kernel panel_packer(Isa isa) {
  static constexpr Kernel kernels[isa_count] = VIVACE_KERNELS(pack_panels);
  return kernels[static_cast<int>(isa)];
}

Panels::Panels(const Program& program, Isa isa, std::shared_ptr<const Panels> base)
    : isa_(isa), base_(std::move(base)) {
  std::vector<bool> seen(program.values.size());
  for (const CallInfo& call : program.calls) {
    for (int input = 1; input <= weights_in_panels(*call.op); ++input) {
      const int id = call.inputs[static_cast<size_t>(input)];
      const ValueInfo& weight = program.values[static_cast<size_t>(id)];
      if (seen[static_cast<size_t>(id)] || weight.data == nullptr || !has_panels(weight.dtype)) continue;
      if (!experts_fill_panels(call, weight, isa_lanes(isa))) continue;
      if (base_ && base_->chosen(weight)) continue;
      seen[static_cast<size_t>(id)] = true;
      const int64_t bytes = panel_bytes(weight.dtype, weight.rows, weight.columns, isa_lanes(isa));
      jobs_.push_back({id, weight.data, weight.rows, total_, bytes});
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
  int64_t chosen = 0, released = 0;
  std::vector<Slice> slices;
  for (; next_ < jobs_.size() && chosen < bytes; ++next_) {
    const Job& job = jobs_[next_];
    const ValueInfo& weight = program.values[static_cast<size_t>(job.value)];
    const int64_t lanes = isa_lanes(isa_), stride = row_bytes(weight.dtype, weight.columns);
    const int64_t rows = std::max<int64_t>(1, slice_bytes / stride / lanes) * lanes;
    for (int64_t row = 0; row < weight.rows; row += rows) {
      const int64_t count = std::min(rows, weight.rows - row);
      Slice slice{{}, &weight, (row + count) * stride};
      slice.run.inputs[0] = {weight.dtype, count, weight.columns, stride,
                             const_cast<std::byte*>(weight.data) + row * stride};
      slice.run.outputs[0].data = memory + job.offset + panel_bytes(weight.dtype, row, weight.columns, lanes);
      slices.push_back(slice);
    }
    chosen += job.bytes;
    if (weight.mapped) released += weight.rows * stride;
  }
  pool.run(threads, [&](Team& team) {
    for (const Slice& slice : slices) {
      kernel(slice.run, team);
      team.barrier();
      if (team.thread() == 0 && slice.weight->mapped) release_file_pages(slice.weight->data, slice.read);
    }
  });
  released_ += released;
  packed_ += chosen;
  if (done()) packed_ = total_;  // with what lies between them
}

bool Panels::chosen(const ValueInfo& weight) const {
  for (const Job& job : jobs_)
    if (job.data == weight.data && job.rows == weight.rows) return true;
  return base_ && base_->chosen(weight);
}

const std::byte* Panels::find(const ValueInfo& weight) const {
  for (size_t i = 0; i < next_; ++i)
    if (jobs_[i].data == weight.data && jobs_[i].rows == weight.rows) return memory_.data() + jobs_[i].offset;
  return base_ ? base_->find(weight) : nullptr;
}

}  // namespace vivace
