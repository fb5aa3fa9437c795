#include "core/memory/system.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

namespace vivace {

std::byte* map_memory(int64_t bytes) {
  return static_cast<std::byte*>(
      VirtualAlloc(nullptr, static_cast<size_t>(bytes), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
}
void unmap_memory(std::byte* data, int64_t) {
  if (data != nullptr) VirtualFree(data, 0, MEM_RELEASE);
}
void release_file_pages(const std::byte* data, int64_t bytes) {
  // Unlocking pages that are not locked takes them out of the working set.
  VirtualUnlock(const_cast<std::byte*>(data), static_cast<size_t>(bytes));
}

}  // namespace vivace
#else
#include <sys/mman.h>
#include <unistd.h>

namespace vivace {

std::byte* map_memory(int64_t bytes) {
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
#if defined(MADV_HUGEPAGE)
  if (bytes >= int64_t{4} << 20) madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
  return static_cast<std::byte*>(data);
}
void unmap_memory(std::byte* data, int64_t bytes) {
  if (data != nullptr) munmap(data, static_cast<size_t>(bytes));
}
void release_file_pages(const std::byte* data, int64_t bytes) {
  const int64_t page = sysconf(_SC_PAGESIZE);
  const int64_t before =
      (page - static_cast<int64_t>(reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(page))) % page;
  const int64_t whole = (bytes - before) / page * page;
  if (whole > 0) madvise(const_cast<std::byte*>(data) + before, static_cast<size_t>(whole), MADV_DONTNEED);
}

}  // namespace vivace
#endif
