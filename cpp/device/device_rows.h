// What a device is told of the rows of a run and of their cache: sequences are numbered anew, and the addresses of the
// pages that rows see or write are listed.
#pragma once
#include <vector>

#include "caches/paged_kv.h"
#include "device/table.h"
#include "program/batch.h"

namespace vivace {

class DeviceRows {
 public:
  // Valid until the next call. `drafted`: as VivaceDeviceBatch has it.
  const VivaceDeviceBatch& describe(const Batch& batch, const PagedKv& kv, const uint8_t* drafted);

 private:
  void describe_cache(const PagedKv& kv);
  void number_sequences(const Batch& batch);
  void list_pages(const PagedKv& kv);
  void describe_labels(const PagedKv& kv);
  void list_prompts(const Batch& batch, const PagedKv& kv);

  VivaceDeviceBatch batch_{};
  VivaceDeviceCache cache_{};
  std::vector<VivaceDevicePlace> places_;
  std::vector<VivaceDevicePattern> patterns_;
  std::vector<int32_t> sequences_, ids_, last_cells_, skipped_;
  std::vector<void*> pages_;
  std::vector<VivaceDevicePrompt> prompts_;
  std::vector<std::vector<void*>> prompt_pages_;
};

}  // namespace vivace
