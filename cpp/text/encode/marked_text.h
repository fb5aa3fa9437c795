// A text as SentencePiece models see it, with U+2581 for spaces, and on request where each of its bytes comes from.
#pragma once
#include <cstdint>
#include <vector>

#include "text/encode/engine.h"
#include "text/encode/word_marks.h"

namespace vivace {

class MarkedText {
 public:
  void clear(bool with_sources) {
    bytes_.clear();
    sources_.clear();
    with_sources_ = with_sources;
  }
  // `source`: where in the original text the character begins that the byte belongs to.
  void byte(uint8_t value, uint32_t source) {
    bytes_.push_back(value);
    if (with_sources_) sources_.push_back(source);
  }
  void mark(uint32_t source) {
    for (const uint8_t value : word_mark) byte(value, source);
  }
  // The whole text, of an original of this size.
  TextSpan finish(uint32_t original) {
    const auto size = static_cast<uint32_t>(bytes_.size());
    bytes_.resize(size + padding);
    if (with_sources_) sources_.push_back(original);
    return {bytes_.data(), size, size + padding};
  }
  // The place in the original that a place here, with what goes before it, reaches to; never inside of what became one
  // character here.
  uint32_t source(uint32_t place) const { return sources_[place]; }
  void shrink() {
    if (bytes_.capacity() <= kept) return;
    bytes_ = {};
    sources_ = {};
  }

 private:
  static constexpr size_t padding = 16;  // so that keys of short pieces can be loaded as they lie
  static constexpr size_t kept = 1 << 20;
  std::vector<uint8_t> bytes_;
  std::vector<uint32_t> sources_;  // [size + 1]
  bool with_sources_ = false;
};

}  // namespace vivace
