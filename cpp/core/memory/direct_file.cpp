#include "core/memory/direct_file.h"

#include "core/error.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

namespace vivace {

DirectFile::DirectFile(const std::string& path) : path_(path) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
  std::wstring wide(static_cast<size_t>(length > 0 ? length : 1), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), length);
  const auto open = [&](DWORD flags) {
    return CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, flags, nullptr);
  };
  HANDLE file = open(FILE_FLAG_NO_BUFFERING);
  if (file == INVALID_HANDLE_VALUE) {
    direct_ = false;
    file = open(0);
  }
  if (file == INVALID_HANDLE_VALUE) throw Error("FILE_NOT_FOUND", "Cannot open " + path);
  handle_ = file;
}

DirectFile::~DirectFile() {
  CloseHandle(handle_);
}

int64_t DirectFile::read(int64_t offset, int64_t bytes, std::byte* to) const {
  int64_t done = 0;
  while (done < bytes) {
    OVERLAPPED place{};
    const int64_t at = offset + done;
    place.Offset = static_cast<DWORD>(at & 0xffffffff);
    place.OffsetHigh = static_cast<DWORD>(at >> 32);
    DWORD count = 0;
    if (!ReadFile(handle_, to + done, static_cast<DWORD>(bytes - done), &count, &place)) {
      if (GetLastError() == ERROR_HANDLE_EOF) break;
      throw Error("FILE_UNREADABLE", "Cannot read " + path_);
    }
    if (count == 0) break;
    done += count;
    if (count % block != 0) break;  // the end of the file
  }
  return done;
}

}  // namespace vivace
#else
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace vivace {

DirectFile::DirectFile(const std::string& path) : path_(path) {
  plain_file_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (plain_file_ < 0)
    throw Error(errno == ENOENT ? "FILE_NOT_FOUND" : "FILE_UNREADABLE",
                "Cannot open " + path + ": " + std::strerror(errno));
#if defined(O_DIRECT)
  direct_file_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  direct_ = direct_file_ >= 0;
#elif defined(F_NOCACHE)
  direct_ = fcntl(plain_file_, F_NOCACHE, 1) == 0;
#else
  direct_ = false;
#endif
}

DirectFile::~DirectFile() {
  close(plain_file_);
  if (direct_file_ >= 0) close(direct_file_);
}

int64_t DirectFile::read(int64_t offset, int64_t bytes, std::byte* to) const {
  int64_t done = 0;
  while (done < bytes) {
    const bool past_cache = direct_file_ >= 0 && direct_;
    const ssize_t count = pread(past_cache ? direct_file_ : plain_file_, to + done, static_cast<size_t>(bytes - done),
                                static_cast<off_t>(offset + done));
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno == EINVAL && past_cache) {  // some file systems refuse only now
        direct_ = false;
        continue;
      }
      throw Error("FILE_UNREADABLE", "Cannot read " + path_ + ": " + std::strerror(errno));
    }
    if (count == 0) break;
    done += count;
    if (past_cache && count % block != 0) break;  // the end of the file
  }
#if defined(POSIX_FADV_DONTNEED)
  if (!direct_) posix_fadvise(plain_file_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
#endif
  return done;
}

}  // namespace vivace
#endif
