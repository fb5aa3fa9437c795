// Pages in the host's memory.
#include <cstring>

#include "caches/page_store.h"
#include "core/memory/system.h"

namespace vivace {
namespace {

class HostPages final : public PageStore {
 public:
  const void* place() const override { return nullptr; }
  std::byte* map(int64_t bytes) override { return map_memory(bytes); }
  void unmap(std::byte* page, int64_t bytes) override { unmap_memory(page, bytes); }
  void copy(const std::vector<PageStrip>& strips) override {
    for (const PageStrip& strip : strips) std::memcpy(strip.to, strip.from, static_cast<size_t>(strip.bytes));
  }
  void read(const std::vector<PageStrip>& strips) override { copy(strips); }
  void write(const std::vector<PageStrip>& strips) override { copy(strips); }
};

}  // namespace

std::unique_ptr<PageStore> host_pages() {
  return std::make_unique<HostPages>();
}

}  // namespace vivace
