// The draws of a run on the card: options go there in one copy, kernels leave a choice per output, and choices come
// back in another one. Only rows that the host draws from leave the card.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "cuda/core/memory.h"
#include "cuda/core/stream.h"
#include "cuda/decode/sample.h"
#include "cuda/decode/verify/verify.h"
#include "device/table.h"

namespace vivace::cuda {

// What the host holds of a run's draws while the run is under way.
struct DrawSlot {
  PinnedBuffer given, choices, rows;  // `choices` and, behind them, the most probable tokens
  std::vector<int64_t> places;        // by output: where its logits are in `rows`, −1: not there
  std::vector<int32_t> tops;          // by output: where its most probable tokens begin, −1: it has none
  int64_t vocab = 0;
  int64_t received = 0;  // bytes of `choices`
};

// A row of a value of the program, for judges.
using HiddenRows = std::function<const float*(int32_t value, int32_t row)>;

class Draws {
 public:
  // Starts the kernels on logits [outputs, columns], which may change them, and the copies to the host.
  void start(const VivaceDeviceRun& run, float* logits, int columns, const HiddenRows& hidden_of, DrawSlot& slot,
             Stream& stream);
  // The tokens of the last start, by output, for a kernel behind it on the stream.
  const GreedyChoice* choices() const { return reinterpret_cast<const GreedyChoice*>(choices_.data()); }
  // After the stream was waited for.
  static void finish(const DrawSlot& slot, VivaceDeviceChoice* choices);
  int64_t bytes() const { return given_.size() + old_.size() + room_.size() + choices_.size(); }

 private:
  // `residuals`: of the walks, [walks, vocab].
  void send(const VivaceDeviceRun& run, const HiddenRows& hidden_of, SampleRun& sample, VerifyLists& walks,
            double*& residuals, DrawSlot& slot, Stream& stream);
  static void grow(DeviceBuffer& buffer, int64_t bytes, Stream& stream);

  DeviceBuffer given_, old_, room_, choices_;
};

}  // namespace vivace::cuda
