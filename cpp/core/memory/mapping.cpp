#include "core/memory/mapping.h"

#include "core/error.h"

namespace vivace {
namespace {
std::string no_memory(int64_t bytes) {
  return "The system has no " + std::to_string(bytes) + " bytes left for weights";
}
}  // namespace
}  // namespace vivace

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

namespace vivace {

Mapping::Mapping(const std::string& path) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
  std::wstring wide(static_cast<size_t>(length > 0 ? length : 1), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), length);
  HANDLE file = CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
  if (file == INVALID_HANDLE_VALUE) throw Error("FILE_NOT_FOUND", "Cannot open " + path);
  LARGE_INTEGER size;
  if (!GetFileSizeEx(file, &size) || size.QuadPart == 0) {
    CloseHandle(file);
    throw Error("FILE_UNREADABLE", "Cannot map " + path + ": it is empty or has no size");
  }
  size_ = size.QuadPart;
  handle_ = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
  CloseHandle(file);
  if (handle_ != nullptr) data_ = static_cast<const std::byte*>(MapViewOfFile(handle_, FILE_MAP_READ, 0, 0, 0));
  if (data_ == nullptr) {
    if (handle_ != nullptr) CloseHandle(handle_);
    throw Error("FILE_UNREADABLE", "Cannot map " + path);
  }
}

Mapping::Mapping(int64_t bytes) : size_(bytes) {
  void* memory = VirtualAlloc(nullptr, static_cast<size_t>(bytes), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (memory == nullptr) throw Error("OUT_OF_MEMORY", no_memory(bytes), "Close other programs.");
  data_ = memory_ = static_cast<std::byte*>(memory);
}

Mapping::~Mapping() {
  if (memory_ != nullptr) {
    VirtualFree(memory_, 0, MEM_RELEASE);
    return;
  }
  UnmapViewOfFile(data_);
  CloseHandle(handle_);
}

void Mapping::will_need(int64_t, int64_t) const {}

}  // namespace vivace
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace vivace {

Mapping::Mapping(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0)
    throw Error(errno == ENOENT ? "FILE_NOT_FOUND" : "FILE_UNREADABLE",
                "Cannot open " + path + ": " + std::strerror(errno));
  struct stat status {};
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0) {
    close(file);
    throw Error("FILE_UNREADABLE", "Cannot map " + path + ": it is empty or no regular file");
  }
  size_ = status.st_size;
  void* address = mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_SHARED, file, 0);
  const int error = errno;
  close(file);
  if (address == MAP_FAILED) throw Error("FILE_UNREADABLE", "Cannot map " + path + ": " + std::strerror(error));
  data_ = static_cast<const std::byte*>(address);
}

Mapping::Mapping(int64_t bytes) : size_(bytes) {
  void* memory = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw Error("OUT_OF_MEMORY", no_memory(bytes), "Close other programs.");
#if defined(MADV_HUGEPAGE)
  madvise(memory, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
  data_ = memory_ = static_cast<std::byte*>(memory);
}

Mapping::~Mapping() {
  munmap(const_cast<std::byte*>(data_), static_cast<size_t>(size_));
}

void Mapping::will_need(int64_t offset, int64_t bytes) const {
  const int64_t page = sysconf(_SC_PAGESIZE);
  const int64_t begin = offset / page * page;
  madvise(const_cast<std::byte*>(data_) + begin, static_cast<size_t>(offset + bytes - begin), MADV_WILLNEED);
}

}  // namespace vivace
#endif
