#include "cuda/emulation/global_memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda/emulation/block.h"

namespace vivace::emulation {

namespace {

struct sigaction before;

// The signal arrives on the stack of the thread that caused it, which is given up: the block ends with a report.
void on_fault(int, siginfo_t* what, void*) {
  if (this_thread != nullptr) {
    char words[96];
    std::snprintf(words, sizeof(words), "an access to address 0x%llx, outside of the device's allocations",
                  static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(what->si_addr)));
    this_thread->block->fail(words);
  }
  // Not a kernel's: it happens again, with what was there before.
  sigaction(SIGSEGV, &before, nullptr);
}

}  // namespace

GlobalMemory::GlobalMemory() {
  if (std::getenv("VIVACE_EMULATED_GUARD_PAGES") != nullptr) guard_pages(true);
  if (const char* bytes = std::getenv("VIVACE_EMULATED_MEMORY")) limit(std::strtoull(bytes, nullptr, 10));
}

void GlobalMemory::guard_pages(bool on) {
  std::lock_guard lock(mutex_);
  if (on == pages_) return;
  pages_ = on;
  if (!on) {
    sigaction(SIGSEGV, &before, nullptr);
    return;
  }
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;  // the handler does not return when it reports
  sigemptyset(&action.sa_mask);
  sigaction(SIGSEGV, &action, &before);
}

void* GlobalMemory::take(size_t bytes) {
  std::lock_guard lock(mutex_);
  if (limit_ != 0 && (bytes > limit_ || used_ > limit_ - bytes)) return nullptr;
  Allocation one = {};
  unsigned char* data = nullptr;
  one.bytes = bytes;
  one.mapped = pages_;
  if (pages_) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), end = (bytes + 15) / 16 * 16;
    const size_t inside = (guard_bytes + end + page - 1) / page * page;
    one.whole = inside + 2 * page;
    void* memory = mmap(nullptr, one.whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    one.base = static_cast<unsigned char*>(memory);
    if (mprotect(one.base + page, inside, PROT_READ | PROT_WRITE) != 0) {
      release(one);
      return nullptr;
    }
    data = one.base + page + inside - end;
    one.behind = end - bytes;
  } else {
    one.whole = (bytes + 2 * guard_bytes + 255) / 256 * 256;
    one.base = static_cast<unsigned char*>(std::aligned_alloc(256, one.whole));
    if (one.base == nullptr) return nullptr;
    data = one.base + guard_bytes;
    one.behind = guard_bytes;
  }
  // Fresh device memory holds anything: numbers that are none.
  std::memset(data, 0xff, bytes);
  std::memset(data - guard_bytes, guard, guard_bytes);
  std::memset(data + bytes, guard, one.behind);
  allocations_[data] = one;
  used_ += bytes;
  return data;
}

bool GlobalMemory::give(void* data) {
  std::lock_guard lock(mutex_);
  const auto found = allocations_.find(static_cast<unsigned char*>(data));
  if (found == allocations_.end()) return false;
  used_ -= found->second.bytes;
  release(found->second);
  allocations_.erase(found);
  return true;
}

void GlobalMemory::release(const Allocation& allocation) {
  if (allocation.mapped)
    munmap(allocation.base, allocation.whole);
  else
    std::free(allocation.base);
}

size_t GlobalMemory::free() {
  std::lock_guard lock(mutex_);
  return total() > used_ ? total() - used_ : 0;
}

size_t GlobalMemory::spoilt() {
  std::lock_guard lock(mutex_);
  for (const auto& [data, one] : allocations_) {
    for (size_t i = 1; i <= guard_bytes; ++i)
      if (*(data - i) != guard) return one.bytes;
    for (size_t i = 0; i < one.behind; ++i)
      if (data[one.bytes + i] != guard) return one.bytes;
  }
  return 0;
}

}  // namespace vivace::emulation
