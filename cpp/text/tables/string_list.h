// Strings as GGUF files hold them: one after the other, each behind its length in 8 bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vivace {

// Goes through such strings; never leaves `size` bytes.
class StringList {
 public:
  StringList(const uint8_t* bytes, size_t size, size_t position = 0) : bytes_(bytes), size_(size), at_(position) {}

  // Moves past the next string and tells where it lies; false, and no move, where it does not lie in the bytes or is
  // longer than `limit`.
  bool next(const uint8_t** string, size_t* length, size_t limit = SIZE_MAX) {
    if (size_ < 8 || at_ > size_ - 8) return false;
    uint64_t count;
    std::memcpy(&count, bytes_ + at_, 8);
    if (count > size_ - 8 - at_ || count > limit) return false;
    *string = bytes_ + at_ + 8;
    *length = static_cast<size_t>(count);
    at_ += 8 + static_cast<size_t>(count);
    return true;
  }

  size_t position() const { return at_; }
  const uint8_t* end() const { return bytes_ + size_; }

 private:
  const uint8_t* bytes_;
  size_t size_;
  size_t at_;
};

// Copies by 16 bytes what is no longer, where that many bytes may be read and written; returns the new end.
inline uint8_t* copy_string(uint8_t* to, const uint8_t* to_end, const uint8_t* from, const uint8_t* from_end,
                            size_t length) {
  if (length <= 16 && from_end - from >= 16 && to_end - to >= 16) {
    std::memcpy(to, from, 16);
  } else {
    std::memcpy(to, from, length);
  }
  return to + length;
}

// Copies `count` strings without their lengths; false where they are not exactly what fits in both memories.
// `offsets` [count + 1].
inline bool gather_strings(StringList list, uint32_t count, uint8_t* out, size_t room, uint32_t* offsets) {
  uint8_t* to = out;
  const uint8_t* end = out + room;
  offsets[0] = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint8_t* string;
    size_t length;
    if (!list.next(&string, &length) || length > static_cast<size_t>(end - to)) return false;
    to = copy_string(to, end, string, list.end(), length);
    offsets[i + 1] = static_cast<uint32_t>(to - out);
  }
  return to == end;
}

}  // namespace vivace
