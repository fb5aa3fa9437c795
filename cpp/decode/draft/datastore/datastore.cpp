#include "decode/draft/datastore/datastore.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"

namespace vivace {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and used as they are");

constexpr char magic[] = "vivaceds";
constexpr uint32_t version = 1;
constexpr int64_t summed = 56;  // bytes of the header under its own checksum

template <class T>
T get(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
void put(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

uint64_t header_sum(const std::byte* header) {
  uint32_t words[summed / 4];
  std::memcpy(words, header, summed);
  DatastoreChecksum sum;
  sum.add(words, summed / 4);
  return sum.value();
}

uint64_t mixed(uint64_t state, uint64_t value) {
  state = (state ^ value) * 0x9E3779B97F4A7C15ULL;
  return state ^ (state >> 32);
}

}  // namespace

// Every step is one-to-one, so a single changed value always changes the sum.
void DatastoreChecksum::add(const uint32_t* values, int64_t count) {
  int64_t i = 0;
  for (; i < count && (count_ + i) % 4 != 0; ++i) {
    uint64_t& lane = lanes_[(count_ + i) % 4];
    lane = mixed(lane, values[i]);
  }
  for (; i + 4 <= count; i += 4)
    for (int lane = 0; lane < 4; ++lane) lanes_[lane] = mixed(lanes_[lane], values[i + lane]);
  for (; i < count; ++i) {
    uint64_t& lane = lanes_[(count_ + i) % 4];
    lane = mixed(lane, values[i]);
  }
  count_ += count;
}

uint64_t DatastoreChecksum::value() const {
  uint64_t sum = mixed(5, static_cast<uint64_t>(count_));
  for (const uint64_t lane : lanes_) sum = mixed(sum, lane);
  return sum;
}

void DatastoreHeader::write(std::byte* to) const {
  std::memset(to, 0, bytes);
  std::memcpy(to, magic, 8);
  put(to + 8, version);
  put(to + 12, vocab);
  put(to + 16, static_cast<uint64_t>(tokens));
  put(to + 24, static_cast<uint64_t>(texts));
  put(to + 32, fingerprint);
  put(to + 40, checksum);
  put(to + 56, header_sum(to));
}

DatastoreHeader DatastoreHeader::read(const Mapping& file, const std::string& path) {
  const std::byte* from = file.data();
  const int64_t known = std::min<int64_t>(file.size(), 8);
  if (std::memcmp(from, magic, static_cast<size_t>(known)) != 0)
    throw Error("FORMAT_UNKNOWN", path + " is no datastore", "Make one with `vivace datastore build`.");
  if (file.size() < bytes) throw Error("FORMAT_TRUNCATED", path + " ends inside its header", "Build or copy it again.");
  if (const uint32_t found = get<uint32_t>(from + 8); found != version)
    throw Error("FORMAT_INVALID",
                path + " has version " + std::to_string(found) + ", this program reads " + std::to_string(version),
                "Build it again.");
  DatastoreHeader header;
  header.vocab = get<uint32_t>(from + 12);
  const uint64_t tokens = get<uint64_t>(from + 16), texts = get<uint64_t>(from + 24);
  header.fingerprint = get<uint64_t>(from + 32);
  header.checksum = get<uint64_t>(from + 40);
  const bool valid = get<uint64_t>(from + 56) == header_sum(from) && get<uint64_t>(from + 48) == 0 && tokens >= 1 &&
                     tokens <= most_tokens && texts >= 1 && texts <= tokens && header.vocab >= 1 &&
                     header.vocab <= most_vocab;
  if (!valid) throw Error("FORMAT_INVALID", path + " has a damaged header", "Build or copy it again.");
  header.tokens = static_cast<int64_t>(tokens);
  header.texts = static_cast<int64_t>(texts);
  const int64_t size = bytes + 8 * header.tokens;
  if (file.size() < size)
    throw Error("FORMAT_TRUNCATED",
                path + " has " + std::to_string(file.size()) + " of " + std::to_string(size) + " bytes",
                "Build or copy it again.");
  if (file.size() > size) throw Error("FORMAT_INVALID", path + " has bytes after its end", "Build or copy it again.");
  return header;
}

Datastore::Datastore(const std::string& path) : file_(path), path_(path), header_(DatastoreHeader::read(file_, path)) {}

void Datastore::verify(const Watch& watch) const {
  constexpr int64_t step = 1 << 18;
  const int64_t values = 2 * header_.tokens;
  DatastoreChecksum sum;
  for (int64_t begin = 0; begin < values; begin += step) {
    watch.check();
    sum.add(tokens() + begin, std::min(step, values - begin));
    watch.reached(static_cast<double>(begin) / static_cast<double>(values));
  }
  if (sum.value() != header_.checksum)
    throw Error("FORMAT_INVALID", path_ + " is damaged: its checksum is wrong", "Build or copy it again.");
}

int32_t Datastore::token(int64_t place, int64_t offset) const {
  const int64_t at = int64_t{suffixes()[place]} + offset;
  if (at >= header_.tokens || tokens()[at] >= header_.vocab) return -1;
  return static_cast<int32_t>(tokens()[at]);
}

int Datastore::compare(int64_t place, const int32_t* sequence, int length) const {
  const int64_t begin = suffixes()[place];
  for (int i = 0; i < length; ++i) {
    if (begin + i >= header_.tokens) return -1;
    const uint32_t own = tokens()[begin + i], other = static_cast<uint32_t>(sequence[i]);
    if (own != other) return own < other ? -1 : 1;
  }
  return 0;
}

Datastore::Range Datastore::find(const int32_t* sequence, int length) const {
  // Negative numbers are no tokens, and one of them looks like a separator.
  if (std::any_of(sequence, sequence + length, [](int32_t token) { return token < 0; })) return {};
  const auto first = [&](int64_t begin, int sign) {
    int64_t end = header_.tokens;
    while (begin < end) {
      const int64_t middle = begin + (end - begin) / 2;
      if (compare(middle, sequence, length) < sign)
        begin = middle + 1;
      else
        end = middle;
    }
    return begin;
  };
  const int64_t begin = first(0, 0);
  return {begin, first(begin, 1)};
}

}  // namespace vivace
