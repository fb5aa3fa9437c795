#include "core/memory/system.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

namespace vivace {

bool has_huge_pages() {
  return false;
}
int64_t system_page_bytes() {
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return static_cast<int64_t>(info.dwPageSize);
}
std::byte* map_memory(int64_t bytes) {
  return static_cast<std::byte*>(
      VirtualAlloc(nullptr, static_cast<size_t>(bytes), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
}
void unmap_memory(std::byte* data, int64_t) {
  if (data != nullptr) VirtualFree(data, 0, MEM_RELEASE);
}
void forget_memory(std::byte*, int64_t) {}
void release_file_pages(const std::byte* data, int64_t bytes) {
  // Unlocking pages that are not locked takes them out of the working set.
  VirtualUnlock(const_cast<std::byte*>(data), static_cast<size_t>(bytes));
}

}  // namespace vivace
#else
#include <sys/mman.h>
#include <unistd.h>

namespace vivace {

namespace {

std::byte* map_pages(int64_t bytes) {
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return data == MAP_FAILED ? nullptr : static_cast<std::byte*>(data);
}

#if defined(MADV_HUGEPAGE)
constexpr int64_t huge_page_bytes = huge_block_bytes;

// A block that begins at a huge page: what is mapped too much before and after it goes back.
std::byte* map_huge(int64_t bytes) {
  const int64_t page = system_page_bytes(), size = (bytes + page - 1) / page * page;
  std::byte* data = map_pages(size + huge_page_bytes);
  if (data == nullptr) return nullptr;
  const int64_t at = static_cast<int64_t>(reinterpret_cast<uintptr_t>(data) % huge_page_bytes);
  const int64_t before = at == 0 ? 0 : huge_page_bytes - at, after = huge_page_bytes - before;
  if (before > 0) munmap(data, static_cast<size_t>(before));
  if (after > 0) munmap(data + before + size, static_cast<size_t>(after));
  madvise(data + before, static_cast<size_t>(size), MADV_HUGEPAGE);
  return data + before;
}
#endif

}  // namespace

bool has_huge_pages() {
#if defined(MADV_HUGEPAGE)
  return true;
#else
  return false;
#endif
}
int64_t system_page_bytes() {
  return sysconf(_SC_PAGESIZE);
}
std::byte* map_memory(int64_t bytes) {
#if defined(MADV_HUGEPAGE)
  if (bytes >= huge_block_bytes)
    if (std::byte* data = map_huge(bytes)) return data;
#endif
  return map_pages(bytes);
}
void unmap_memory(std::byte* data, int64_t bytes) {
  if (data != nullptr) munmap(data, static_cast<size_t>(bytes));
}
void forget_memory(std::byte* data, int64_t bytes) {
  madvise(data, static_cast<size_t>(bytes), MADV_DONTNEED);
}
void release_file_pages(const std::byte* data, int64_t bytes) {
  const int64_t page = system_page_bytes();
  const int64_t before =
      (page - static_cast<int64_t>(reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(page))) % page;
  const int64_t whole = (bytes - before) / page * page;
  if (whole > 0) madvise(const_cast<std::byte*>(data) + before, static_cast<size_t>(whole), MADV_DONTNEED);
}

}  // namespace vivace
#endif
