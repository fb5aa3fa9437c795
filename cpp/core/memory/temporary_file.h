// A file without a name, for what does not fit into memory: it is gone when it is closed, however the process ends.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace vivace {

class TemporaryFile {
 public:
  // A piece of memory that is read into.
  struct Part {
    std::byte* to;
    int64_t bytes;
  };

  // UTF-8 path of a folder. Throws FILE_NOT_FOUND or FILE_UNREADABLE.
  explicit TemporaryFile(const std::string& folder);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  // The file, `from` bytes long, is `to` bytes long from now on; what was not written reads as zeros and takes no room.
  // Throws FILE_UNREADABLE, and FORMAT_TRUNCATED where it was shorter than that.
  void resize(int64_t from, int64_t to);
  // Both may be called by any number of threads at a time. Throws FILE_UNREADABLE, as for a disk that is full.
  void write(int64_t offset, int64_t bytes, const std::byte* from) const;
  // Neighbouring bytes of the file, into several parts. Throws FILE_UNREADABLE, and FORMAT_TRUNCATED where it ends.
  void read(int64_t offset, const Part* parts, int count) const;

 private:
  std::string folder_;
#if defined(_WIN32)
  void* handle_ = nullptr;
#else
  int file_ = -1;
#endif
};

}  // namespace vivace
