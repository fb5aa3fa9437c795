// Where the words of a stretch of `lanes` weight rows lie, for codecs (files compiled per level).
//
//   FileOrder   as a stretch of the file was laid side by side: block after block, byte after byte. Where a stretch is
//               no multiple of 16 bytes, its last 16 bytes follow as four words of their own.
//   PanelOrder  as pack_panels wrote it when the model was loaded (ops/linear/panels.h has the layout in closed form):
//               blocks of 32 in pairs, the words of one, of the other, then their 16-bit scales (and minima) as vectors
//               of halves; blocks of 256 byte after byte.
#pragma once
#include "ops/linear/panel.h"
#include "quant/blocks.h"

namespace vivace::VIVACE_ISA {

using Raw = const Ints*;

// The word at byte `at`, a multiple of two.
template <int at>
inline Ints word_at(Raw raw) {
  if constexpr (at % 4 == 0)
    return raw[at / 4];
  else
    return raw[at / 4] >> 16 | raw[at / 4 + 1] << 16;
}
// The 16-bit float at byte `at`.
template <int at>
inline F32 half_at(Raw raw) {
  return low_halves(at % 4 == 0 ? raw[at / 4] : raw[at / 4] >> 16);
}

template <class Codec>
inline constexpr int stretch_bytes = static_cast<int>(sizeof(typename Codec::Block)) * stretch / Codec::width;

// Bytes of scale and minimum at the beginning of a block of 32, and words of what follows.
template <class Codec>
inline constexpr int head_bytes = Codec::has_min ? 4 : 2;
template <class Codec>
inline constexpr int words_of_block = (static_cast<int>(sizeof(typename Codec::Block)) - head_bytes<Codec>) / 4;

// Words (of every lane) of a panel of 256 columns.
template <class Codec>
inline constexpr int words_of_panel =
    Codec::width == 32 ? 4 * (2 * words_of_block<Codec> + head_bytes<Codec> / 2) : (stretch_bytes<Codec> + 3) / 4;

// Calls word.operator()<w>() for w = 0 … count - 1.
template <int count, class Word>
inline void for_words(Word&& word) {
  if constexpr (count > 0) {
    for_words<count - 1>(word);
    word.template operator()<count - 1>();
  }
}

struct FileOrder {
  static constexpr bool is_panel = false;
  // The word at byte `at` of block g, of formats with blocks of 32.
  template <class Codec, int g, int at>
  static Ints word(Raw raw) {
    return word_at<g* static_cast<int>(sizeof(typename Codec::Block)) + at>(raw);
  }
  // The 16-bit float there.
  template <class Codec, int g, int at>
  static F32 half(Raw raw) {
    return half_at<g* static_cast<int>(sizeof(typename Codec::Block)) + at>(raw);
  }
  // The same as bits, in the low halves of words.
  template <class Codec, int g, int at>
  static Ints low_word(Raw raw) {
    constexpr int byte = g * static_cast<int>(sizeof(typename Codec::Block)) + at;
    return byte % 4 == 0 ? raw[byte / 4] : raw[byte / 4] >> 16;
  }
  // Of formats with blocks of 256: the last 16 bytes, words, and 16-bit floats of a block of `size` bytes.
  template <int size>
  static Raw tail(Raw raw) {
    return raw + size / 16 * 4;
  }
  template <int at, int size>
  static Ints word_of_stretch(Raw raw) {
    if constexpr (at + 4 <= size / 16 * 16)
      return word_at<at>(raw);
    else
      return word_at<at - (size - 16)>(tail<size>(raw));
  }
  // The same, but the last word of a block may have two bytes only.
  template <int at, int size>
  static Ints last_word_of_stretch(Raw raw) {
    if constexpr (at + 4 <= size)
      return word_of_stretch<at, size>(raw);
    else
      return tail<size>(raw)[3] >> 16;
  }
  template <int at, int size>
  static F32 half_of_stretch(Raw raw) {
    if constexpr (at < size / 16 * 16)
      return half_at<at>(raw);
    else
      return half_at<at - (size - 16)>(tail<size>(raw));
  }
};

struct PanelOrder {
  static constexpr bool is_panel = true;
  template <class Codec>
  static constexpr int words_of_pair = 2 * words_of_block<Codec> + head_bytes<Codec> / 2;

  template <class Codec, int g, int at>
  static Ints word(Raw raw) {
    return raw[g / 2 * words_of_pair<Codec> + g % 2 * words_of_block<Codec> + (at - head_bytes<Codec>) / 4];
  }
  template <class Codec, int g, int at>
  static F32 half(Raw raw) {
    const void* halves = raw + g / 2 * words_of_pair<Codec> + 2 * words_of_block<Codec>;
    return load_f16(static_cast<const uint16_t*>(halves) + (at + g % 2) * lanes);
  }
  template <int size>
  static Raw tail(Raw raw) {
    static_assert(size % 4 == 0);
    return raw + (size - 16) / 4;
  }
  template <int at, int size>
  static Ints word_of_stretch(Raw raw) {
    return word_at<at>(raw);
  }
  template <int at, int size>
  static F32 half_of_stretch(Raw raw) {
    return half_at<at>(raw);
  }
};

}  // namespace vivace::VIVACE_ISA
