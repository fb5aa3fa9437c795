// A cut: one pattern applied to a piece from left to right. What it matches are pieces, and what is left between them
// too.
#pragma once
#include <cstdint>
#include <tuple>
#include <vector>

#include "text/split/matchers.h"

namespace vivace::split {

// Appends the ends of the pieces of text[begin, end).
using CutFunction = void (*)(const uint8_t* text, uint32_t begin, uint32_t end, std::vector<uint32_t>& ends);

// A pattern of alternatives: at each place the first that matches counts. A matcher may keep what it found out about
// the piece in members.
template <class... Matchers>
struct Cut {
  static void cut(const uint8_t* text, uint32_t begin, uint32_t end, std::vector<uint32_t>& ends) {
    const Place stop = text + end;
    Place at = text + begin;
    bool gap = false;
    std::tuple<Matchers...> matchers;
    while (at < stop) {
      Place match = nullptr;
      static_cast<void>((... || ((match = std::get<Matchers>(matchers).match(at, stop)) != nullptr)));
      if (match == nullptr) {
        at += read_character(at, stop).length;
        gap = true;
        continue;
      }
      if (gap) ends.push_back(static_cast<uint32_t>(at - text));
      gap = false;
      at = match;
      ends.push_back(static_cast<uint32_t>(at - text));
    }
    if (gap) ends.push_back(end);
  }
};

// \s*[\r\n]+ alone, where other patterns of white space follow it.
struct LinesOnly {
  Place none_before = nullptr;  // no line break up to there: the rest of a long run is not looked through again

  Place match(Place at, Place end) {
    if (at < none_before) return nullptr;
    Place stop = at, lines = nullptr;
    for (;;) {
      const Character c = read_character(stop, end);
      if (!Space::has(c)) break;
      stop += c.length;
      if (LineBreak::has(c)) lines = stop;
    }
    if (lines == nullptr) none_before = stop;
    return lines;
  }
};

// Runs of D in groups of three from the right, where no character of `Forbidden` follows the run. Written out because a
// look-ahead for it is quadratic.
template <class D, class Forbidden = Class<0>>
void cut_in_threes(const uint8_t* text, uint32_t begin, uint32_t end, std::vector<uint32_t>& ends) {
  const Place stop = text + end;
  Place at = text + begin, cut = at;
  while (at < stop) {
    const Place run = skip<D>(at, stop);
    if (run == at) {
      at += read_character(at, stop).length;
      continue;
    }
    if (Forbidden::has(read_character(run, stop))) {
      at = run;
      continue;
    }
    if (at > cut) ends.push_back(static_cast<uint32_t>(at - text));
    uint32_t count = 0;
    for (Place i = at; i < run; i += read_character(i, stop).length) ++count;
    for (uint32_t left = count; at < run;) {
      at += read_character(at, stop).length;
      if (--left % 3 == 0) ends.push_back(static_cast<uint32_t>(at - text));
    }
    cut = run;
  }
  if (cut < stop) ends.push_back(end);
}

// \s+$
inline void cut_trailing_spaces(const uint8_t* text, uint32_t begin, uint32_t end, std::vector<uint32_t>& ends) {
  const Place stop = text + end;
  Place spaces = nullptr;
  for (Place at = text + begin; at < stop;) {
    const Character c = read_character(at, stop);
    if (!Space::has(c)) {
      spaces = nullptr;
    } else if (spaces == nullptr) {
      spaces = at;
    }
    at += c.length;
  }
  if (spaces != nullptr && spaces > text + begin) ends.push_back(static_cast<uint32_t>(spaces - text));
  if (begin < end) ends.push_back(end);
}

}  // namespace vivace::split
