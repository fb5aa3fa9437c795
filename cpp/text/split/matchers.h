// The parts of pre-split patterns: classes of characters, and matchers, each one alternative of a pattern.
//
// A matcher's match(at, end) returns where a match that begins at `at` ends, or null. It finds what a backtracking
// regular expression finds, but looks at each character a bounded number of times: runs of a million characters are
// linear.
#pragma once
#include <cstdint>

#include "text/split/unicode.h"

namespace vivace::split {

using Place = const uint8_t*;

// ---- Classes: which characters

// Any of the classes in `Any`, none of those in `None`.
template <uint16_t Any, uint16_t None = 0>
struct Class {
  static bool has(const Character& c) { return (c.classes & Any) != 0 && (c.classes & None) == 0; }
};
template <uint16_t None>
using Not = Class<any_class, None>;

template <uint32_t... Codes>
struct OneOf {
  static bool has(const Character& c) { return c.length > 0 && (... || (c.code == Codes)); }
};
template <uint32_t First, uint32_t Last>
struct Between {
  static bool has(const Character& c) { return c.length > 0 && c.code - First <= Last - First; }
};
template <class... Classes>
struct Union {
  static bool has(const Character& c) { return (... || Classes::has(c)); }
};
template <class Base, class Without>
struct Except {
  static bool has(const Character& c) { return Base::has(c) && !Without::has(c); }
};

using Letter = Class<letter_class>;
using Number = Class<number_class>;
using Space = Class<space_class>;
using LineBreak = Class<line_break_class>;
using Digit = Class<digit_class>;
using Blank = OneOf<' '>;
using AsciiLetter = Union<Between<'A', 'Z'>, Between<'a', 'z'>>;
using AsciiPunctuation = Union<Between<'!', '/'>, Between<':', '@'>, Between<'[', '`'>, Between<'{', '~'>>;

// ---- Matchers

template <class C>
Place skip(Place at, Place end) {
  for (;;) {
    const Character c = read_character(at, end);
    if (!C::has(c)) return at;
    at += c.length;
  }
}

// C+
template <class C>
struct Run {
  static Place match(Place at, Place end) {
    const Place stop = skip<C>(at, end);
    return stop == at ? nullptr : stop;
  }
};

// C{1,Most}
template <class C, int Most>
struct UpTo {
  static Place match(Place at, Place end) {
    Place stop = at;
    for (int i = 0; i < Most; ++i) {
      const Character c = read_character(stop, end);
      if (!C::has(c)) break;
      stop += c.length;
    }
    return stop == at ? nullptr : stop;
  }
};
template <class C>
using One = UpTo<C, 1>;

// C{Count}
template <class C, int Count>
struct Exactly {
  static Place match(Place at, Place end) {
    for (int i = 0; i < Count; ++i) {
      const Character c = read_character(at, end);
      if (!C::has(c)) return nullptr;
      at += c.length;
    }
    return at;
  }
};

// First?Body+
template <class First, class Body>
struct Led {
  static Place match(Place at, Place end) {
    const Character first = read_character(at, end);
    if (First::has(first)) {
      const Place next = at + first.length;
      const Character second = read_character(next, end);
      if (Body::has(second)) return skip<Body>(next + second.length, end);
    }
    return Body::has(first) ? skip<Body>(at + first.length, end) : nullptr;
  }
};

// FirstBody+
template <class First, class Body>
struct LedAlways {
  static Place match(Place at, Place end) {
    const Character first = read_character(at, end);
    return First::has(first) ? Run<Body>::match(at + first.length, end) : nullptr;
  }
};

// Matcher, then Tail*
template <class Matcher, class Tail>
struct Tailed {
  static Place match(Place at, Place end) {
    const Place stop = Matcher::match(at, end);
    return stop == nullptr ? nullptr : skip<Tail>(stop, end);
  }
};

// Matcher, then Tail?
template <class Matcher, class Tail>
struct TailedOnce {
  static Place match(Place at, Place end) {
    const Place stop = Matcher::match(at, end);
    if (stop == nullptr) return nullptr;
    const Character c = read_character(stop, end);
    return Tail::has(c) ? stop + c.length : stop;
  }
};

// White space: with `Lines` \s*[\r\n]+ (and, because \s* is greedy, all up to the run's last line break), then
// \s+(?!\S), then \s+: a run leaves its last character to a word behind it.
template <bool Lines>
struct Spaces {
  static Place match(Place at, Place end) {
    Place stop = at, last = at, lines = nullptr;
    for (;;) {
      const Character c = read_character(stop, end);
      if (!Space::has(c)) break;
      last = stop;
      stop += c.length;
      if (Lines && LineBreak::has(c)) lines = stop;
    }
    if (stop == at) return nullptr;
    if (lines != nullptr) return lines;
    return stop == end || last == at ? stop : last;
  }
};

// \s{512}(?!\S)|\s{256}(?!\S)|…|\s{4}(?!\S)|\s{1,2}(?!\S)|\s
struct SpacesByPowers {
  static Place match(Place at, Place end) {
    Place after[514] = {at};  // [n]: behind n characters
    int count = 0;
    while (count < 513) {
      const Character c = read_character(after[count], end);
      if (!Space::has(c)) break;
      after[count + 1] = after[count] + c.length;
      ++count;
    }
    for (int length = 512; length > 0; length /= 2)
      if (count > length || (count == length && after[count] == end)) return after[length];
    return count > 0 ? after[1] : nullptr;
  }
};

// 's 't 're 've 'm 'll 'd
template <bool AnyCase>
struct Contraction {
  static Place match(Place at, Place end) {
    if (end - at < 2 || at[0] != '\'') return nullptr;
    const uint8_t fold = AnyCase ? 0x20 : 0;
    const uint8_t first = at[1] | fold;
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    if (end - at < 3) return nullptr;
    const uint8_t second = at[2] | fold;
    const bool known =
        (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
    return known ? at + 3 : nullptr;
  }
};

// Lead?U*L+ | Lead?U+L*, where U and L share the characters without case, each with a contraction behind it if
// `Contracted`. Greedy U* gives characters back until L+ finds one: L+ then begins at the last character of the run of
// U that is in L too.
template <class Lead, class U, class L, bool Contracted>
struct CasedWord {
  static Place match(Place at, Place end) {
    const Character first = read_character(at, end);
    if (first.length == 0) return nullptr;
    const Ends led = Lead::has(first) ? ends(at + first.length, end) : Ends{};
    if (led.lower != nullptr) return tail(led.lower, end);
    const Ends bare = ends(at, end);
    if (bare.lower != nullptr) return tail(bare.lower, end);
    if (led.upper != nullptr) return tail(led.upper, end);
    return bare.upper != nullptr ? tail(bare.upper, end) : nullptr;
  }

 private:
  struct Ends {
    Place lower = nullptr, upper = nullptr;  // of U*L+ and of U+L*
  };
  static Ends ends(Place at, Place end) {
    Place stop = at, shared = nullptr;
    for (;;) {
      const Character c = read_character(stop, end);
      if (!U::has(c)) {
        if (L::has(c)) return {skip<L>(stop + c.length, end), nullptr};
        break;
      }
      stop += c.length;
      if (L::has(c)) shared = stop;
    }
    return {shared, stop == at ? nullptr : stop};
  }
  static Place tail(Place at, Place end) {
    const Place stop = Contracted ? Contraction<true>::match(at, end) : nullptr;
    return stop == nullptr ? at : stop;
  }
};

// Lead?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+
template <class Lead>
struct SpacedWords {
  static Place match(Place at, Place end) {
    const Character first = read_character(at, end);
    if (Lead::has(first)) {
      const Place stop = words(at + first.length, end);
      if (stop != nullptr) return stop;
    }
    return words(at, end);
  }

 private:
  static Place words(Place at, Place end) {
    if (!Letter::has(read_character(at, end))) return nullptr;
    for (;;) {
      const Character c = read_character(at, end);
      if (Letter::has(c)) {
        at = skip<Class<mark_class>>(at + c.length, end);
      } else if (c.code == ' ' && Letter::has(read_character(at + 1, end))) {
        ++at;
      } else {
        return at;
      }
    }
  }
};

// A literal text.
template <char... Text>
struct Literal {
  static Place match(Place at, Place end) {
    if (end - at < static_cast<int>(sizeof...(Text))) return nullptr;
    return (... && (*at++ == static_cast<uint8_t>(Text))) ? at : nullptr;
  }
};

// Matchers one after the other; none of them can give anything back.
template <class... Matchers>
struct Chain {
  static Place match(Place at, Place end) {
    return (... && ((at = Matchers::match(at, end)) != nullptr)) ? at : nullptr;
  }
};

}  // namespace vivace::split
