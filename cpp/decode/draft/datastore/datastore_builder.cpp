#include "decode/draft/datastore/datastore_builder.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/error.h"

namespace vivace {

DatastoreBuilder::DatastoreBuilder(int64_t vocab, uint64_t fingerprint) {
  if (vocab < 1 || vocab > DatastoreHeader::most_vocab)
    throw Error("INVALID_ARGUMENT", "A vocabulary has 1 to " + std::to_string(DatastoreHeader::most_vocab) + " tokens");
  header_.vocab = static_cast<uint32_t>(vocab);
  header_.fingerprint = fingerprint;
}

void DatastoreBuilder::add(const int32_t* tokens, int64_t count) {
  if (built_) throw Error("INVALID_ARGUMENT", "The datastore is built already");
  if (count == 0) return;
  for (int64_t i = 0; i < count; ++i)
    if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= header_.vocab)
      throw Error("INVALID_ARGUMENT", "Token " + std::to_string(tokens[i]) + " lies outside of the vocabulary of " +
                                          std::to_string(header_.vocab));
  if (count >= DatastoreHeader::most_tokens - header_.tokens)
    throw Error("FORMAT_LIMIT", "A datastore has at most " + std::to_string(DatastoreHeader::most_tokens) + " tokens",
                "Make several, or leave texts out.");
  tokens_.insert(tokens_.end(), tokens, tokens + count);
  tokens_.push_back(DatastoreHeader::separator);
  header_.tokens = static_cast<int64_t>(tokens_.size());
  ++header_.texts;
}

void DatastoreBuilder::build(const Watch& watch) {
  if (built_) return;
  if (tokens_.empty()) throw Error("INVALID_ARGUMENT", "There is no text with tokens to build a datastore of");
  const int64_t n = header_.tokens;
  std::vector<int32_t> suffixes(static_cast<size_t>(n));
  {
    // Tokens that occur, numbered in order: the sort needs memory for each number.
    std::vector<int32_t> number(size_t{header_.vocab} + 1);
    const auto letter = [&](uint32_t token) { return std::min(token, header_.vocab); };  // the separator comes last
    for (const uint32_t token : tokens_) number[letter(token)] = 1;
    int32_t letters = 0;
    for (int32_t& one : number) one = one != 0 ? letters++ : 0;
    std::vector<int32_t> text(static_cast<size_t>(n));
    std::transform(tokens_.begin(), tokens_.end(), text.begin(), [&](uint32_t token) { return number[letter(token)]; });
    watch.reached(0.05);
    suffix_array(text.data(), static_cast<int32_t>(n), letters, suffixes.data(), watch);
  }
  watch.reached(0.95);
  suffixes_ = std::move(suffixes);
  DatastoreChecksum sum;
  sum.add(tokens_.data(), n);
  sum.add(reinterpret_cast<const uint32_t*>(suffixes_.data()), n);
  header_.checksum = sum.value();
  built_ = true;
  watch.reached(1);
}

void DatastoreBuilder::read(int64_t offset, int64_t count, std::byte* out) const {
  if (!built_ || offset < 0 || count < 0 || offset > size() - count)
    throw Error("INVALID_ARGUMENT", "There are no such bytes of a datastore");
  std::array<std::byte, DatastoreHeader::bytes> head;
  header_.write(head.data());
  const int64_t n = header_.tokens;
  const struct {
    const void* data;
    int64_t bytes;
  } parts[] = {{head.data(), DatastoreHeader::bytes}, {tokens_.data(), 4 * n}, {suffixes_.data(), 4 * n}};
  for (const auto& part : parts) {
    if (offset < part.bytes && count > 0) {
      const int64_t step = std::min(count, part.bytes - offset);
      std::memcpy(out, static_cast<const std::byte*>(part.data) + offset, static_cast<size_t>(step));
      out += step;
      count -= step;
      offset += step;
    }
    offset -= part.bytes;
  }
}

}  // namespace vivace
