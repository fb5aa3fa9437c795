#include "core/arena.h"

#include <new>
#include <string>

#include "core/error.h"
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace vivace {
namespace {

constexpr int64_t huge_page = int64_t{2} << 20;
std::align_val_t alignment_of(int64_t bytes) { return std::align_val_t{bytes >= huge_page ? 4096u : 64u}; }

}  // namespace

Arena::~Arena() {
  if (data_ != nullptr) ::operator delete(data_, alignment_of(size_));
}

std::byte* Arena::reserve(int64_t bytes) {
  if (bytes <= size_) return data_;
  if (data_ != nullptr) ::operator delete(data_, alignment_of(size_));
  size_ = 0;
  data_ = static_cast<std::byte*>(::operator new(static_cast<size_t>(bytes), alignment_of(bytes), std::nothrow));
  if (data_ == nullptr)
    throw Error("OUT_OF_MEMORY", "The system has no " + std::to_string(bytes) + " bytes for activations",
                "Use fewer rows per run, or close other programs.");
  size_ = bytes;
#if defined(__linux__)
  if (bytes >= huge_page) madvise(data_, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
  return data_;
}

}  // namespace vivace
