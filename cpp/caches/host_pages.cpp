// Pages in the host's memory, cut from slabs: a huge page of memory holds several pages of a cache, and kernels that
// walk through a long context miss fewer translations of addresses.
#include <algorithm>
#include <cstring>
#include <map>
#include <new>

#include "caches/page_store.h"
#include "core/memory/system.h"

namespace vivace {
namespace {

constexpr int64_t most_slab_bytes = int64_t{64} << 20;

struct Slab {
  int64_t page_bytes;
  std::vector<bool> taken;
  size_t used = 0;
  int64_t bytes() const { return page_bytes * static_cast<int64_t>(taken.size()); }
};

class HostPages final : public PageStore {
 public:
  ~HostPages() override {
    for (const auto& [data, slab] : slabs_) unmap_memory(data, slab.bytes());
  }

  const void* place() const override { return nullptr; }

  std::byte* map(int64_t bytes, int64_t wanted) override {
    const int64_t unit = system_page_bytes(), page_bytes = (bytes + unit - 1) / unit * unit;
    auto at = slabs_.end();
    if (free_pages_ > 0)
      at = std::find_if(slabs_.begin(), slabs_.end(), [&](const auto& entry) {
        return entry.second.page_bytes == page_bytes && entry.second.used < entry.second.taken.size();
      });
    if (at == slabs_.end()) at = add_slab(page_bytes, pages_of_next_slab(page_bytes, wanted));
    if (at == slabs_.end()) at = add_slab(page_bytes, 1);  // memory may suffice for a page if not for a slab
    if (at == slabs_.end()) return nullptr;
    auto& [data, slab] = *at;
    const auto page = std::find(slab.taken.begin(), slab.taken.end(), false);
    *page = true;
    ++slab.used;
    --free_pages_;
    return data + (page - slab.taken.begin()) * page_bytes;
  }

  void unmap(std::byte* page, int64_t) override {
    const auto at = std::prev(slabs_.upper_bound(page));
    auto& [data, slab] = *at;
    slab.taken[static_cast<size_t>((page - data) / slab.page_bytes)] = false;
    --slab.used;
    ++free_pages_;
    // Neighbours keep the addresses, not the memory.
    if (slab.used > 0) return forget_memory(page, slab.page_bytes);
    free_pages_ -= slab.taken.size();
    mapped_ -= slab.bytes();
    unmap_memory(data, slab.bytes());
    slabs_.erase(at);
  }

  void copy(const std::vector<PageStrip>& strips) override {
    for (const PageStrip& strip : strips) std::memcpy(strip.to, strip.from, static_cast<size_t>(strip.bytes));
  }
  void read(const std::vector<PageStrip>& strips) override { copy(strips); }
  void write(const std::vector<PageStrip>& strips) override { copy(strips); }

 private:
  // Slabs are half of what is there already: the first are single pages, and as long as huge pages would be much of
  // all, there are none. A prompt that fills huge pages has them at once: the system clears one of them faster than it
  // brings in 512 small ones.
  int64_t pages_of_next_slab(int64_t page_bytes, int64_t wanted) const {
    if (!has_huge_pages()) return 1;
    const int64_t now = wanted * page_bytes, whole = (now + huge_block_bytes - 1) / huge_block_bytes * huge_block_bytes;
    const int64_t bytes = std::max(mapped_ / 2, now < huge_block_bytes ? 0 : whole);
    return std::max<int64_t>(1, std::min(bytes, most_slab_bytes) / page_bytes);
  }

  // The end when there is no memory.
  std::map<std::byte*, Slab>::iterator add_slab(int64_t page_bytes, int64_t pages) {
    std::byte* data = map_memory(page_bytes * pages);
    if (data == nullptr) return slabs_.end();
    try {
      const auto at = slabs_.insert({data, {page_bytes, std::vector<bool>(static_cast<size_t>(pages))}}).first;
      mapped_ += page_bytes * pages;
      free_pages_ += static_cast<size_t>(pages);
      return at;
    } catch (const std::bad_alloc&) {
      unmap_memory(data, page_bytes * pages);
      return slabs_.end();
    }
  }

  std::map<std::byte*, Slab> slabs_;  // by address
  int64_t mapped_ = 0;                // bytes of all slabs
  size_t free_pages_ = 0;             // of all slabs
};

}  // namespace

std::unique_ptr<PageStore> host_pages() {
  return std::make_unique<HostPages>();
}

}  // namespace vivace
