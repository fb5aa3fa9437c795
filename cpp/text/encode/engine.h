// What the three tokenizer engines have in common: text comes in, tokens and their places go out.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "text/tables/vocabulary.h"

namespace vivace {

// Tokens, and if asked for how many bytes of their text end with each: [size] of both.
class TokenSink {
 public:
  bool with_ends = false;

  uint32_t size() const { return size_; }
  const int32_t* tokens() const { return tokens_.get(); }
  const std::vector<uint32_t>& ends() const { return ends_; }

  // Memory for `count` more tokens; advance() says how many of them were written.
  int32_t* room(size_t count) {
    if (size_ + count > capacity_) grow(size_ + count);
    return tokens_.get() + size_;
  }
  void advance(uint32_t count) { size_ += count; }
  void push(int32_t token, uint32_t end) {
    *room(1) = token;
    ++size_;
    if (with_ends) ends_.push_back(end);
  }
  // The last token since `from` also stands for what follows it up to `end`.
  void extend(uint32_t from, uint32_t end) {
    if (with_ends && size_ > from) ends_.back() = end;
  }
  // Places in another text become places in this one.
  template <class Map>
  void map_ends(uint32_t from, const Map& place_of) {
    for (uint32_t i = from; with_ends && i < size_; ++i) ends_[i] = place_of(ends_[i]);
  }
  void clear() {
    size_ = 0;
    ends_.clear();
    if (capacity_ <= kept) return;
    tokens_.reset();
    ends_ = {};
    capacity_ = 0;
  }

 private:
  static constexpr size_t kept = 1 << 18;  // one long text must not hold its memory for ever
  void grow(size_t least) {
    const size_t capacity = least + least / 2 + 64;
    std::unique_ptr<int32_t[]> larger(new int32_t[capacity]);
    if (size_ > 0) std::memcpy(larger.get(), tokens_.get(), size_ * sizeof(int32_t));
    tokens_ = std::move(larger);
    capacity_ = capacity;
  }
  std::unique_ptr<int32_t[]> tokens_;
  std::vector<uint32_t> ends_;
  uint32_t size_ = 0;
  size_t capacity_ = 0;
};

// A text in UTF-8, and how many bytes from its begin on may be read.
struct TextSpan {
  const uint8_t* bytes = nullptr;
  uint32_t size = 0;
  size_t readable = 0;
};

struct TextPlace {
  bool after_special = false;  // it begins the input or follows a special token
  bool whole = false;          // it is one piece, normalised and cut already
};

class TokenizerEngine {
 public:
  virtual ~TokenizerEngine() = default;
  // Appends the tokens of a text between special tokens; its bytes begin at `offset` of the whole text.
  virtual void encode(TextSpan text, TextPlace place, uint32_t offset, TokenSink& out) = 0;
};

// How many bytes a character has by its first one, at most `left`.
inline uint32_t character_width(uint8_t first, size_t left) {
  const uint32_t width = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  return width < left ? width : static_cast<uint32_t>(left);
}

}  // namespace vivace
