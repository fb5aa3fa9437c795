// A datastore: tokens of many texts and their suffix array, in a file that is used where it is mapped.
//
// Layout, little-endian; n tokens with the separators, a separator after each text:
//   0   8 bytes   "vivaceds"
//   8   uint32    version, 1
//   12  uint32    vocabulary: every token lies below
//   16  uint64    n, 1 to most_tokens
//   24  uint64    texts
//   32  uint64    fingerprint of the tokenizer
//   40  uint64    checksum of all that follows the header
//   48  uint64    0
//   56  uint64    checksum of the 56 bytes before
//   64  uint32[n] tokens
//   ..  uint32[n] begins of the suffixes in the order of their tokens, separators last
#pragma once
#include <cstdint>
#include <string>

#include "core/memory/mapping.h"
#include "decode/draft/datastore/suffix_array.h"

namespace vivace {

struct DatastoreHeader {
  static constexpr int64_t bytes = 64;
  static constexpr uint32_t separator = UINT32_MAX;
  static constexpr int64_t most_tokens = INT32_MAX - 1;
  static constexpr int64_t most_vocab = int64_t{1} << 24;

  uint32_t vocab = 0;
  int64_t tokens = 0, texts = 0;
  uint64_t fingerprint = 0, checksum = 0;

  void write(std::byte* to) const;
  // Throws FORMAT_*, with the path in front.
  static DatastoreHeader read(const Mapping& file, const std::string& path);
};

// Of so many values, started with 0 and gone on with for further ones.
class DatastoreChecksum {
 public:
  void add(const uint32_t* values, int64_t count);
  uint64_t value() const;

 private:
  uint64_t lanes_[4] = {1, 2, 3, 4};
  int64_t count_ = 0;
};

class Datastore {
 public:
  // Checks the header and the file's size. Throws FILE_*, FORMAT_*.
  explicit Datastore(const std::string& path);
  // Reads all of it and compares the checksum. Throws FORMAT_INVALID, ABORTED.
  void verify(const Watch& watch) const;

  struct Range {
    int64_t begin = 0, end = 0;  // of places in the suffix array
    int64_t size() const { return end - begin; }
  };
  // The suffixes that begin with these tokens. Whatever the file holds, places lie in it.
  Range find(const int32_t* tokens, int length) const;
  // The token that is `offset` behind the begin of a suffix; -1 where the text is over.
  int32_t token(int64_t place, int64_t offset) const;
  const DatastoreHeader& header() const { return header_; }

 private:
  const uint32_t* tokens() const { return reinterpret_cast<const uint32_t*>(file_.data() + DatastoreHeader::bytes); }
  const uint32_t* suffixes() const { return tokens() + header_.tokens; }
  // Below 0: the suffix comes before the sequence, 0: it begins with it, above 0: it comes after it.
  int compare(int64_t place, const int32_t* tokens, int length) const;

  Mapping file_;
  std::string path_;
  DatastoreHeader header_;
};

}  // namespace vivace
