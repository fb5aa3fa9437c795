// Where pages of a KV cache lie and how bytes move between them: the host's memory, or a device's. PagedKv does the
// bookkeeping and asks for nothing else.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace vivace {

// A run of bytes in a page, and where it comes from or goes to.
struct PageStrip {
  std::byte* to;
  const std::byte* from;
  int64_t bytes;
};

class PageStore {
 public:
  virtual ~PageStore() = default;
  // The device that can read the pages; null: the host.
  virtual const void* place() const = 0;
  // A page, or null when there is no memory for it. Its contents are what was there before, or zeros. `wanted`: pages
  // that are asked for one after the other now, this one included.
  virtual std::byte* map(int64_t bytes, int64_t wanted) = 0;
  virtual void unmap(std::byte* page, int64_t bytes) = 0;
  // Each is over when it returns. Strips do not overlap.
  virtual void copy(const std::vector<PageStrip>& strips) = 0;   // page to page
  virtual void read(const std::vector<PageStrip>& strips) = 0;   // page to host
  virtual void write(const std::vector<PageStrip>& strips) = 0;  // host to page
};

std::unique_ptr<PageStore> host_pages();

}  // namespace vivace
