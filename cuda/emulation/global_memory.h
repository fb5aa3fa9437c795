// Memory of the emulated device: every allocation lies between guard bytes, which are compared after each kernel, and
// if wanted between pages that nobody may touch, so that reads beyond it are found as they happen.
#pragma once
#include <cstddef>
#include <map>
#include <mutex>
#include <string>

namespace vivace::emulation {

class GlobalMemory {
 public:
  GlobalMemory();
  // Null when there is none left, or more than the limit.
  void* take(size_t bytes);
  // False for what was not given, or was taken back already.
  bool give(void* data);
  // Bytes that all allocations together may have; 0: the default. VIVACE_EMULATED_MEMORY sets it for a whole process.
  void limit(size_t bytes) { limit_ = bytes; }
  size_t total() const { return limit_ != 0 ? limit_ : size_t{4} << 30; }
  size_t free();
  // The size of an allocation whose guards were overwritten; 0: none.
  size_t spoilt();

  // From now on allocations end where a page ends that nobody may touch (not more than 15 bytes before), and freed ones
  // are not there any more: a kernel that reads there is reported. It takes the process's SIGSEGV, so it is for tests,
  // which may also set VIVACE_EMULATED_GUARD_PAGES for a whole process.
  void guard_pages(bool on);

 private:
  struct Allocation {
    unsigned char* base;  // of what the system gave
    size_t whole, bytes, behind;
    bool mapped;
  };
  static constexpr size_t guard_bytes = 256;
  static constexpr unsigned char guard = 0xa5;
  static void release(const Allocation& allocation);
  std::mutex mutex_;
  std::map<unsigned char*, Allocation> allocations_;  // by what the caller sees
  size_t used_ = 0, limit_ = 0;
  bool pages_ = false;
};

}  // namespace vivace::emulation
