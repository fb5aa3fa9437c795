// Makes the bytes of a datastore from texts of tokens.
#pragma once
#include <vector>

#include "decode/draft/datastore/datastore.h"

namespace vivace {

class DatastoreBuilder {
 public:
  DatastoreBuilder(int64_t vocab, uint64_t fingerprint);
  // One text; an empty one adds nothing. Throws INVALID_ARGUMENT for a token outside of the vocabulary, FORMAT_LIMIT
  // for too many tokens.
  void add(const int32_t* tokens, int64_t count);
  // Sorts; nothing can be added any more. 12 bytes per token in memory. Throws INVALID_ARGUMENT without any text,
  // ABORTED.
  void build(const Watch& watch);
  // Afterwards: the bytes of the file, and a part of them.
  int64_t size() const { return DatastoreHeader::bytes + 8 * header_.tokens; }
  void read(int64_t offset, int64_t count, std::byte* out) const;
  const DatastoreHeader& header() const { return header_; }
  bool built() const { return built_; }

 private:
  DatastoreHeader header_;
  std::vector<uint32_t> tokens_;
  std::vector<int32_t> suffixes_;
  bool built_ = false;
};

}  // namespace vivace
