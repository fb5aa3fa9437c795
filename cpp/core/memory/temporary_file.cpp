#include "core/memory/temporary_file.h"

#include "core/error.h"

namespace vivace {
namespace {

[[noreturn]] void truncated(const std::string& folder) {
  throw Error("FORMAT_TRUNCATED", "A temporary file in " + folder + " is shorter than what was written",
              "Somebody else has changed it: begin again.");
}

[[noreturn]] void refused(const char* what, const std::string& folder, const std::string& reason) {
  throw Error("FILE_UNREADABLE", std::string("Cannot ") + what + " a temporary file in " + folder + ": " + reason,
              "Name a folder on a disk with enough room.");
}

}  // namespace
}  // namespace vivace

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

namespace vivace {
namespace {

OVERLAPPED place_of(int64_t offset) {
  OVERLAPPED place{};
  place.Offset = static_cast<DWORD>(offset & 0xffffffff);
  place.OffsetHigh = static_cast<DWORD>(offset >> 32);
  return place;
}

std::string last_error() {
  return "error " + std::to_string(GetLastError());
}

}  // namespace

TemporaryFile::TemporaryFile(const std::string& folder) : folder_(folder) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, folder.c_str(), -1, nullptr, 0);
  std::wstring wide(static_cast<size_t>(length > 0 ? length : 1), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, folder.c_str(), -1, wide.data(), length);
  wchar_t name[MAX_PATH];
  if (GetTempFileNameW(wide.c_str(), L"viv", 0, name) == 0) refused("make", folder, last_error());
  handle_ = CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, nullptr, CREATE_ALWAYS,
                        FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE | FILE_FLAG_RANDOM_ACCESS, nullptr);
  if (handle_ == INVALID_HANDLE_VALUE) refused("make", folder, last_error());
}

TemporaryFile::~TemporaryFile() {
  CloseHandle(handle_);
}

void TemporaryFile::resize(int64_t from, int64_t to) {
  LARGE_INTEGER now, wanted;
  wanted.QuadPart = to;
  if (!GetFileSizeEx(handle_, &now)) refused("read", folder_, last_error());
  if (to > 0 && now.QuadPart < from) truncated(folder_);
  if (from == to) return;
  if (!SetFilePointerEx(handle_, wanted, nullptr, FILE_BEGIN) || !SetEndOfFile(handle_))
    refused("write", folder_, last_error());
}

void TemporaryFile::write(int64_t offset, int64_t bytes, const std::byte* from) const {
  for (int64_t done = 0; done < bytes;) {
    OVERLAPPED place = place_of(offset + done);
    DWORD count = 0;
    if (!WriteFile(handle_, from + done, static_cast<DWORD>(bytes - done), &count, &place))
      refused("write", folder_, last_error());
    done += count;
  }
}

void TemporaryFile::read(int64_t offset, const Part* parts, int count) const {
  for (int i = 0; i < count; ++i)
    for (int64_t done = 0; done < parts[i].bytes;) {
      OVERLAPPED place = place_of(offset);
      DWORD got = 0;
      if (!ReadFile(handle_, parts[i].to + done, static_cast<DWORD>(parts[i].bytes - done), &got, &place)) {
        if (GetLastError() == ERROR_HANDLE_EOF) truncated(folder_);
        refused("read", folder_, last_error());
      }
      if (got == 0) truncated(folder_);
      done += got;
      offset += got;
    }
}

}  // namespace vivace
#else
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace vivace {

TemporaryFile::TemporaryFile(const std::string& folder) : folder_(folder) {
  std::string path = folder + "/vivace-XXXXXX";
  file_ = mkstemp(path.data());
  if (file_ < 0) {
    if (errno == ENOENT || errno == ENOTDIR)
      throw Error("FILE_NOT_FOUND", "There is no folder " + folder + " for a temporary file",
                  "Name a folder on a disk with enough room.");
    refused("make", folder, std::strerror(errno));
  }
  unlink(path.c_str());
  fcntl(file_, F_SETFD, FD_CLOEXEC);
#if defined(POSIX_FADV_RANDOM)
  posix_fadvise(file_, 0, 0, POSIX_FADV_RANDOM);  // rows of some hundred bytes, neighbours seldom wanted
#endif
}

TemporaryFile::~TemporaryFile() {
  close(file_);
}

void TemporaryFile::resize(int64_t from, int64_t to) {
  struct stat known;
  if (fstat(file_, &known) != 0) refused("read", folder_, std::strerror(errno));
  if (to > 0 && known.st_size < from) truncated(folder_);
  if (from == to) return;
  if (ftruncate(file_, static_cast<off_t>(to)) != 0) refused("write", folder_, std::strerror(errno));
}

void TemporaryFile::write(int64_t offset, int64_t bytes, const std::byte* from) const {
  for (int64_t done = 0; done < bytes;) {
    const ssize_t count =
        pwrite(file_, from + done, static_cast<size_t>(bytes - done), static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) refused("write", folder_, std::strerror(count < 0 ? errno : ENOSPC));
    done += count;
  }
}

void TemporaryFile::read(int64_t offset, const Part* parts, int count) const {
  constexpr int most = 64;
  iovec places[most];
  int64_t skip = 0;  // of the first part, which was read already
  while (count > 0) {
    const int some = std::min(count, most);
    for (int i = 0; i < some; ++i) {
      const int64_t from = i == 0 ? skip : 0;
      places[i] = {parts[i].to + from, static_cast<size_t>(parts[i].bytes - from)};
    }
    ssize_t got = preadv(file_, places, some, static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      refused("read", folder_, std::strerror(errno));
    }
    if (got == 0) truncated(folder_);
    offset += got;
    for (got += skip, skip = 0; count > 0 && got >= parts->bytes; ++parts, --count) got -= parts->bytes;
    skip = got;
  }
}

}  // namespace vivace
#endif
