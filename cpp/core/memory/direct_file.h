// A file that is read past the system's cache, in whole blocks, by any number of threads: what is read so takes no
// memory but the reader's. Where the file system cannot do that, its cache is told to forget what was read.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace vivace {

class DirectFile {
 public:
  static constexpr int64_t block = 4096;

  // UTF-8 path. Throws FILE_NOT_FOUND or FILE_UNREADABLE.
  explicit DirectFile(const std::string& path);
  ~DirectFile();
  DirectFile(const DirectFile&) = delete;
  DirectFile& operator=(const DirectFile&) = delete;
  // offset, bytes and the address are multiples of `block`. Gives the bytes read: fewer at the file's end. Throws
  // FILE_UNREADABLE.
  int64_t read(int64_t offset, int64_t bytes, std::byte* to) const;
  // Reads go past the cache.
  bool direct() const { return direct_; }

 private:
  std::string path_;
  mutable std::atomic<bool> direct_{true};
#if defined(_WIN32)
  void* handle_ = nullptr;
#else
  int direct_file_ = -1, plain_file_ = -1;
#endif
};

}  // namespace vivace
